"""A power cut at any moment: nothing wrong is served then, no start is refused, and the next pull mends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.pattern import ImagePattern
from registry_cache.policy.eviction import Bounds
from registry_cache.store.layout import Layout
from registry_cache.store.piece_file import PIECE_SIZE
from registry_cache.store.piece_files import Pieces
from registry_cache.store.pins import Pin, Pins
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness import crasher
from tests.harness.crasher import DATA, MANIFEST, PIECED
from tests.harness.power_cut import Cut, Disk
from tests.harness.pull_rig import Script, drain, transfer
from tests.harness.store_rig import HUB, HUB_APP, LATEST, Store, obey_modes, open_store

BLOB, IMAGE = Digest.of(DATA), Digest.of(MANIFEST)
DAY = 86_400
# The folders of which each may keep what has come to it, or not, whatever the others do.
FOLDERS = ("/blobs", "/partial", "_blobs", "_manifests", "_tags")


def alone(here: str, folder: str) -> bool:
    """Keep what came to one of the FOLDERS and, or nothing could be there, to those that are none of them."""
    return here in folder or not any(each in folder for each in FOLDERS)


KEEPS: dict[str, Callable[[str], bool]] = {
    "nothing": lambda folder: False,
    "everything": lambda folder: True,
    **{f"only {each}": partial(alone, each) for each in FOLDERS},
    **{f"all but {each}": partial(lambda each, folder: each not in folder, each) for each in FOLDERS},
}


def image(store: Store) -> None:
    """A layer, its manifest and a tag."""
    crasher.download(store)
    crasher.manifest(store)


def cuts(root: Path, story: Callable[[Store], None]) -> list[tuple[Cut, bool]]:
    """What may be left of a story in a store where other blobs have been before."""
    store = open_store(root)
    for digest in (BLOB, IMAGE):
        Path(store.layout.blob(digest)).parent.mkdir()
    disk = Disk(root)
    with disk.watched():
        story(store)
    return list(disk.cuts(KEEPS))


def nothing_wrong(store: Store) -> None:
    """Whatever is served is right, and so is what is not: whoever reads files need not ask us."""
    assert not store.wrong_blobs()
    for digest, data in ((BLOB, DATA), (IMAGE, MANIFEST)):
        anywhere = store.blobs.open_any(digest)
        assert anywhere is None or anywhere.file.read_at(0, anywhere.size + 1) == data
        assert store.read(digest) in (None, data)
        assert store.records.read_any(digest) in (None, data)
    found = store.records.manifest(HUB_APP, IMAGE)
    assert found is None or found.data == MANIFEST
    tag = store.records.tag(HUB_APP, LATEST)
    assert tag is None or tag.digest == IMAGE
    names = [path for path in store.files("repositories") if "/_manifests/" in path and not path.endswith(".json")]
    assert all((Path(store.layout.root) / path).read_bytes() == MANIFEST for path in names if "/." not in path)


@pytest.mark.parametrize("story", [crasher.download, crasher.second_try, image])
def test_of_a_pull(tmp_path: Path, story: Callable[[Store], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    left = cuts(tmp_path / "store", story)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    obey_modes(monkeypatch)
    assert len(left) > 50
    resumed = damaged = 0
    for number, (cut, last) in enumerate(left):
        store = open_store(cut.lay_out(tmp_path / str(number)))
        nothing_wrong(store)
        # What was committed is not lost.
        assert store.blobs.open_any(BLOB) or not last
        assert store.blobs.open_any(IMAGE) or not last or story is not image

        script = Script(DATA)
        feed = transfer(store, script)
        assert feed.committed
        assert drain(feed) == DATA
        # Once more from the start, where what was here of it is wrong.
        assert len(script.starts) <= 2
        resumed += script.starts != [] and script.starts[0] > 0
        damaged += len(script.starts) == 2
        assert store.blobs.grant(HUB_APP, BLOB)
        crasher.manifest(store)
        nothing_wrong(store)
        assert store.read(BLOB) == DATA
        assert store.records.manifest(HUB_APP, IMAGE)
        assert store.records.tags(HUB_APP) == ["latest"]

        for later in (3 * DAY, 6 * DAY):
            assert Cleanup(store.layout, Bounds(ttl=timedelta(hours=1)), time.time() + later).run()
        assert store.files() <= {"layout", "ledger", "last-cleanup"}
    assert resumed > 3
    assert damaged > 3


PAGE = 4096
# What is left of a file of pieces, none of which is ever synced: any page of it. The first two are its header and map.
PAGES: tuple[Callable[[int], bool], ...] = (
    lambda number: True,
    lambda number: number != 0,
    lambda number: number != 1,
    lambda number: number < 2,
    lambda number: number < 12,
    lambda number: number < 2 or number // 2 % 2 == 0,
    lambda number: number % 5 != 3,
)


def lose_pages(kept: Callable[[int], bool], data: bytes) -> bytes:
    pages = (data[at : at + PAGE] for at in range(0, len(data), PAGE))
    return b"".join(page if kept(number) else bytes(len(page)) for number, page in enumerate(pages))


def test_of_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever pages of it reach the disk: a piece is right, or missing and fetched again."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    digest, disk = Digest.of(PIECED), Disk(tmp_path / "store")
    store = open_store(tmp_path / "store")
    with disk.watched():
        crasher.read_ranges(store, Script(PIECED, chunk=15_000))
    losses = [partial(lose_pages, kept) for kept in PAGES]
    kept = set()
    for number, (cut, _) in enumerate(disk.cuts({"everything": lambda folder: True}, losses)):
        left = open_store(cut.lay_out(tmp_path / str(number)))
        file, here = Pieces(left.layout).open(HUB, digest), 0
        for start in range(0, len(PIECED), PIECE_SIZE):
            data = file.read(start, start + PIECE_SIZE) if file else b""
            assert data in (b"", PIECED[start : start + PIECE_SIZE])
            here += len(data)
        kept.add(here)
        script = Script(PIECED)
        crasher.read_ranges(left, script)
        # No wrong byte came into the whole, or it would have been asked for once more.
        assert crasher.pull_whole(left, script).committed
        assert len(script.starts) == len(set(script.starts))
        assert left.blobs.open_any(digest)
        assert not left.wrong_blobs()
    assert len(kept) > 4


def test_of_a_first_start(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    disk = Disk(root)
    with disk.watched():
        Layout.open(root)
    for number, (cut, _) in enumerate(disk.cuts(KEEPS)):
        store = open_store(cut.lay_out(tmp_path / str(number)))
        assert store.put(b"data") == Digest.of(b"data")
    assert number > 5


def test_of_what_the_operator_wants_and_of_what_is_counted(tmp_path: Path) -> None:
    """A pin that is said to be kept is kept; a size that nobody has counted is not taken for nothing at all."""
    store = open_store(tmp_path / "store")
    first, second = (Pin(HUB, ImagePattern.parse(name)) for name in ("first:1", "second:1"))
    disk = Disk(tmp_path / "store")
    with disk.watched():
        for pin, counted in ((first, 100), (second, 300)):
            Pins(store.layout).add([pin])
            ledger = SizeLedger(store.layout)
            ledger.replace(counted, ledger.position())
    states = set()
    for number, (cut, last) in enumerate(disk.cuts(KEEPS)):
        layout = open_store(cut.lay_out(tmp_path / str(number))).layout
        pins, total = Pins(layout).all(), SizeLedger(layout).total()
        assert pins in ([], [first], [first, second])
        assert total in (None, 100, 300)
        assert not last or (len(pins), total) == (2, 300)
        states.add((len(pins), total))
    assert len(states) > 3
