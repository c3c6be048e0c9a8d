"""A store of which a part is another user's, as after one start as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from registry_cache.errors import StoreError
from registry_cache.store.audit import selftest
from registry_cache.store.layout import Layout
from tests.harness.programs import short_folder

pytestmark = pytest.mark.needs_root
SERVER = 54321  # nobody's on this machine


@pytest.fixture
def root() -> Iterator[Path]:
    """A store of root's, whose folder alone is the server's."""
    with short_folder() as folder:
        folder.chmod(0o755)
        root = folder / "store"
        Layout.open(root)
        os.chown(root, SERVER, SERVER)
        yield root


@contextmanager
def as_server() -> Iterator[None]:
    os.setegid(SERVER)
    os.seteuid(SERVER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_opening_it_says_whose_it_has_to_be(root: Path) -> None:
    told = (
        f"user {SERVER} may not use {root}/.*: run this as the user whose store it is, or give all .* -R USER {root}$"
    )
    with as_server():
        for look in (Layout.open, Layout.find):
            with pytest.raises(StoreError, match=told):
                look(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, SERVER, SERVER)
    with as_server():
        assert Layout.find(root) is not None
        Layout.open(root)


@pytest.mark.parametrize("part", ["layout", "blobs", "locks"])
def test_a_check_finds_the_part(root: Path, part: str) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, SERVER, SERVER)
    with as_server():
        assert next(selftest.examine(root)).state == "ok"
    os.chown(root / part, 0, 0)
    with as_server():
        found = next(selftest.examine(root))
    assert (found.state, found.words) == ("failed", f"user {SERVER} may not use {root / part}, which is user root's")
    assert found.remedy == f"give all of it to one user: chown -R {SERVER} {root}"
