"""A cleanup of the bucket: names go before bytes, and a dry run changes nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from registry_cache.bucket.shared_cleanup import clean
from registry_cache.bucket.stored_object import StoredObject

NOW = 2_000_000_000.0
BLOB, NAME = "blobs/sha256/aa/aa", "repositories/docker.io/one/_blobs/sha256/aa"


class Shelf:
    """A bucket with one old blob of 100 bytes and its name."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def find(self, prefix: str = "") -> Iterator[StoredObject]:
        old = datetime.fromtimestamp(NOW - 10**6, UTC)
        yield from (StoredObject(BLOB, 100, old), StoredObject(NAME, 0, old))

    def delete(self, keys: list[str]) -> None:
        self.deleted += keys


@pytest.mark.parametrize(("dry_run", "deleted"), [(True, []), (False, [NAME, BLOB])])
def test_names_go_before_bytes(dry_run: bool, deleted: list[str]) -> None:
    shelf = Shelf()

    report = clean(shelf, 50, NOW, dry_run=dry_run)

    assert shelf.deleted == deleted
    assert (report.exit_status, report.document()["evicted_bytes"]) == (0, 100)
    assert next(iter(report.lines())).endswith("1 blobs, 100 bytes")
