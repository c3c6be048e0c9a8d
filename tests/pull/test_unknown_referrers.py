"""What a registry says of names and digests of which nothing is here leaves little behind."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.pull import unknown_referrers
from registry_cache.pull.target import PullTarget
from registry_cache.pull.tolerant_records import TolerantRecords
from registry_cache.pull.unknown_referrers import MAX_SIZE, UnknownReferrers
from registry_cache.store.record_format import TagRecord
from tests.harness.store_rig import APP, HUB, HUB_APP, LATEST, Store
from tests.harness.targets import target_at

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def digest(number: int) -> Digest:
    return Digest.of(b"%d" % number)


def target(name: str) -> PullTarget:
    upstream = mock.Mock()
    upstream.name = HUB
    return target_at(upstream, Repository.parse(name))


def files(store: Store) -> list[str]:
    """Whatever there is below the upstream, folders as well."""
    top = Path(store.layout.repositories) / HUB
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def test_of_names_of_which_nothing_is_here_the_newest_answers_are_kept(store: Store) -> None:
    unknown = UnknownReferrers(TolerantRecords(store.records))
    with mock.patch.object(unknown_referrers, "MAX_OF_UNKNOWN_NAMES", 3):
        for number in range(9):
            unknown.keep(target(f"any/name{number}"), digest(number), b"{}")

    kept = [path.split("/")[1] for path in files(store) if path.endswith(".json")]
    assert kept == ["name6", "name7", "name8"]
    assert len(files(store)) == 1 + 3 * 4, "and no folders of the others"


def test_what_was_pulled_from_meanwhile_keeps_its_answers(store: Store) -> None:
    unknown = UnknownReferrers(TolerantRecords(store.records))
    with mock.patch.object(unknown_referrers, "MAX_OF_UNKNOWN_NAMES", 1):
        unknown.keep(target(APP), digest(1), b"{}")
        store.records.put_tag(HUB_APP, LATEST, TagRecord(digest(1), "a/b", 2, NOW, NOW))
        unknown.keep(target("any/name"), digest(2), b"{}")

    assert store.records.referrers(HUB_APP, digest(1)) == b"{}"


def test_no_answer_is_large_and_no_repository_has_any_number(store: Store) -> None:
    unknown = UnknownReferrers(TolerantRecords(store.records))
    unknown.keep(target(APP), digest(0), b"x" * (MAX_SIZE + 1))
    with mock.patch.object(unknown_referrers, "MAX_OF_A_REPOSITORY", 2):
        for number in range(5):
            unknown.keep(target(APP), digest(number), b"{}")

    assert store.records.count_referrers(HUB_APP) == 2
    assert store.records.referrers(HUB_APP, digest(4)) is None
