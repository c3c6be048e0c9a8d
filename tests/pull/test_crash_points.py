"""A process may die at any change of the disk: afterwards the blob is there and right, or the next claim brings it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy.eviction import Bounds
from registry_cache.store.piece_file import PIECE_SIZE
from registry_cache.store.piece_files import Pieces
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness import crasher
from tests.harness.crasher import DATA, MANIFEST, PIECED
from tests.harness.programs import succeed
from tests.harness.pull_rig import Body, Script, Try, drain, transfer
from tests.harness.store_rig import CHANGES, HUB, HUB_APP, LATEST, Store, obey_modes, open_store

DIGEST = Digest.of(DATA)


def crashed(root: Path, story: str, at_least: int) -> list[Store]:
    """The stores that a process left which died at its first, second, … change; the last one lived."""
    command = [sys.executable, "-m", crasher.__name__, str(root), story]
    count = int(succeed(command, seconds=120))
    assert count > at_least
    return [open_store(root / str(number)) for number in range(1, count + 1)]


@pytest.mark.parametrize("story", ["download", "second_try"])
def test_of_a_download(tmp_path: Path, story: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = crashed(tmp_path, story, at_least=20)
    obey_modes(monkeypatch)
    resumed = 0
    for store in stores:
        assert not store.wrong_blobs()
        whole = store.blobs.open_any(DIGEST)
        partial = store.partials.open(DIGEST)
        left = partial.size() if partial else 0
        script = Script(DATA)
        feed = transfer(store, script)

        assert feed.committed
        assert drain(feed) == DATA
        # Nothing that was here came again, but where it was wrong.
        good = DATA[:left] == (partial.read_at(0, left) if partial else b"")
        assert script.starts == ([] if whole else [left] if good else [left, 0])
        resumed += 0 < left < len(DATA)
        assert store.files("locks") == set()
        # Litter for the cleanup: a record half written, the status of a blob that is here.
        litter = {path for path in store.files("partial") if "/." in path or (whole and path.endswith(".json"))}
        assert store.files("partial") == litter
        if not whole:
            assert store.read(DIGEST) == DATA
        elif store.read(DIGEST) is None:
            # It died between the commit and the membership: upstream must be asked whether this repository has it.
            assert store.blobs.grant(HUB_APP, DIGEST)
            assert store.read(DIGEST) == DATA
        assert not store.wrong_blobs()
    assert resumed > 3
    assert stores[-1].read(DIGEST) == DATA


def test_of_ranges_and_of_the_whole_that_takes_them_over(tmp_path: Path) -> None:
    """Between a piece's bytes and its entry in the map, too: no piece is believed to be here that is not."""
    digest, kept = Digest.of(PIECED), set[int]()
    for number, store in enumerate(crashed(tmp_path, "ranges", at_least=25)):
        assert not store.wrong_blobs()
        here = pieces_here(store)
        kept.add(sum(here))
        whole = store.blobs.open_any(digest)
        sent = Sent(PIECED, chunk=15_000)
        if not whole:
            crasher.read_ranges(store, sent)
            for start, stop in crasher.RANGES:
                file = Pieces(store.layout).open(HUB, digest)
                assert file
                assert file.read(start, stop) == PIECED[start:stop]
        progress = crasher.pull_whole(store, sent)
        assert progress.committed
        assert drain(progress) == PIECED
        # What is here, in pieces or at the beginning of the partial, is not fetched again.
        assert not any(times > 1 for times in sent.times)
        assert not any(times and is_here for times, is_here in zip(sent.times, here, strict=True))
        # A file of pieces that never had its name is litter; where the commit was the last thing, the pieces are, too.
        assert whole or all("/." in path for path in store.files("pieces"))
        if number % 5 == 0:
            clean(store, LATER[-1])
            clean(store, 2 * LATER[-1])
            assert store.files() <= {"layout", "ledger", "last-cleanup"}
    assert len(kept) > 3


class Sent(Script):
    """Counts how often each piece was sent, in whole or in part."""

    def __init__(self, data: bytes, chunk: int) -> None:
        super().__init__(data, chunk=chunk)
        self.times = [0] * -(-len(data) // PIECE_SIZE)

    def open(self, start: int, again: bool = False, stop: int | None = None) -> Body:
        end = len(self.data) if stop is None else stop
        for index in range(start // PIECE_SIZE, -(-end // PIECE_SIZE)) if start < end else ():
            self.times[index] += 1
        return super().open(start, again, stop)


def pieces_here(store: Store) -> list[bool]:
    """Which pieces a reader would be given, all of which are right."""
    digest = Digest.of(PIECED)
    file, here = Pieces(store.layout).open(HUB, digest), []
    for start in range(0, len(PIECED), PIECE_SIZE):
        data = file.read(start, start + PIECE_SIZE) if file else b""
        assert data in (b"", PIECED[start : start + PIECE_SIZE])
        here.append(bool(data))
    return here


def test_of_keeping_a_manifest_and_its_tag(tmp_path: Path) -> None:
    digest = Digest.of(MANIFEST)
    for store in crashed(tmp_path, "manifest", at_least=15):
        assert not store.wrong_blobs()
        found = store.records.manifest(HUB_APP, digest)
        assert found is None or found.data == MANIFEST
        tag = store.records.tag(HUB_APP, LATEST)
        assert tag is None or (tag.digest == digest and found)
        crasher.manifest(store)
        again = store.records.manifest(HUB_APP, digest)
        assert again is not None
        assert again.data == MANIFEST
        assert store.records.tags(HUB_APP) == ["latest"]


# Seconds until a cleanup comes: at once, when locks and failures are litter, and when partials and blobs are.
HOUR, DAY = 3600, 86_400
LATER = (0, 2 * HOUR, 3 * DAY)


def clean(store: Store, later: float) -> None:
    """All that may go goes."""
    assert Cleanup(store.layout, Bounds(ttl=timedelta(hours=1)), time.time() + later).run()


def test_of_a_download_before_a_cleanup(tmp_path: Path) -> None:
    for number, store in enumerate(crashed(tmp_path, "download", at_least=20)):
        later = LATER[number % len(LATER)]
        clean(store, later)
        assert not store.wrong_blobs()
        script = Script(DATA)
        feed = transfer(store, script)

        assert feed.committed
        assert drain(feed) == DATA
        assert not store.wrong_blobs()
        # Two hours are too soon to give up what is here of it; three days are not.
        assert len(script.starts) <= 1
        assert later < LATER[-1] or script.starts == [0]
        clean(store, LATER[-1] + DAY)
        assert store.files() <= {"layout", "ledger", "last-cleanup"}


def at_change(number: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> list[int]:
    """Let ``act`` happen right before the ``number``-th change of the disk; returns how many there were, in a list."""
    count, acting = [0], [False]

    def watched(really: Callable[..., Any]) -> Callable[..., Any]:
        def function(*arguments: Any, **options: Any) -> Any:
            if not acting[0]:
                count[0] += 1
                if count[0] == number:
                    acting[0] = True
                    act()
                    acting[0] = False
            return really(*arguments, **options)

        return function

    for name in CHANGES:
        patch.setattr(os, name, watched(getattr(os, name)))
    return count


def test_a_cleanup_at_any_step_of_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the clock has leapt: what is new is old already. No pull fails, and nothing wrong is kept."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    number, steps, kept = 1, 1, 0
    while number <= steps:
        store = open_store(tmp_path / str(number))
        with monkeypatch.context() as patch:
            count = at_change(number, partial(clean, store, LATER[-1]), patch)
            feed = transfer(store, Script(DATA, [Try(cut=60_000)], chunk=20_000))
        steps = count[0]
        # Where the file was half written that went, the blob is streamed through.
        assert feed.committed or isinstance(feed.error, StoreError)
        kept += feed.committed
        assert drain(transfer(store, Script(DATA))) == DATA
        assert not store.wrong_blobs()
        number += 1
    assert kept > 15
