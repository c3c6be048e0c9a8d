"""Dies at the k-th change of the disk, for every k, each in a folder of its own.

Started once, it forks for every k, because starting Python takes longer than a whole download. The child dies by
``os._exit`` right before the change, or, where that is a write, in the middle of it. Prints how many there were.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_MANIFEST
from registry_cache.pull.lazy.piece_flights import MissingRun, PieceFlights
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.runtime.event_queue import Answer
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal_file import JournalBounds
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.tally import Tally
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.piece_files import Pieces
from registry_cache.store.record_format import TagRecord
from tests.harness.images import random_bytes
from tests.harness.pull_rig import SECONDS, Script, Try, transfer
from tests.harness.store_rig import APP, CHANGES, HUB, HUB_APP, LATEST, Store, open_store

DATA = bytes(range(256)) * 400
MANIFEST = b'{"layers": []}'
# Nothing of it is like another part of it, or bytes in a wrong place would look right.
PIECED = random_bytes(100_000, seed="pieced")
RANGES = ((30_000, 60_000), (99_000, 100_000), (25_000, 30_010))
DIED, LIVED = 9, 0
# What three processes counted, and when: each can be told from the sum.
COUNTED, COUNTED_AT = (1, 10, 100), 1_800_000_000.0


def download(store: Store) -> None:
    """A blob that comes in two pieces, because the connection is cut."""
    feed = transfer(store, Script(DATA, [Try(cut=60_000)], chunk=20_000))
    assert feed.committed


def second_try(store: Store) -> None:
    """A blob whose bytes are wrong at first."""
    feed = transfer(store, Script(DATA, [Try(flip=50_000)], chunk=50_000))
    assert feed.committed


def ranges(store: Store) -> None:
    """Ranges of a blob, some of them where others were, then the whole, which takes them over."""
    read_ranges(store, Script(PIECED, [Try(), Try(cut=20_000)], chunk=15_000))
    assert pull_whole(store, Script(PIECED, chunk=20_000)).committed


def read_ranges(store: Store, script: Script) -> None:
    """Have what ``RANGES`` lack fetched, one after the other."""
    pieces, flights = Pieces(store.layout), PieceFlights()
    for start, stop in RANGES:
        file = pieces.make(HUB, Digest.of(PIECED), len(PIECED))
        run = MissingRun(file, Digest.of(PIECED), script.source())
        while (at := file.here_until(start, stop)) < stop:
            flight, _ = flights.join(run, at, file.gap_until(at, stop))
            if flight:
                flight.wait_past(at)
        # Nothing else changes the disk when the next one begins.
        flights.wait_until_idle(SECONDS)


def pull_whole(store: Store, script: Script) -> TransferProgress:
    """The whole of that blob, as a process of its own downloads it."""
    digest = Digest.of(PIECED)
    progress = TransferProgress(digest)
    reuse = PieceReuse(digest, script.source(), Pieces(store.layout))
    Transfer(progress, script.source(), TransferParts(store.blobs, store.partials), reuse=reuse).run(lambda: True)
    return progress


def manifest(store: Store) -> None:
    digest = Digest.of(MANIFEST)
    now = datetime.now(UTC)
    store.records.put_manifest(HUB_APP, digest, MANIFEST, parse_manifest(MANIFEST, OCI_MANIFEST))
    store.records.put_tag(HUB_APP, LATEST, TagRecord(digest, OCI_MANIFEST, len(MANIFEST), now, now))


def statistics(store: Store) -> None:
    """Three processes write what they counted, one after the other, and each time it is folded."""
    files = StatisticsFiles(store.layout)
    keeper = Keeper(files, JournalBounds(days=7, size=1 << 20), now=lambda: COUNTED_AT, clients=True)
    assert keeper.hold()
    for tally in map(counted, COUNTED):
        for day, found in tally.take():
            write_whole(files.new_incoming(day), found.encode())
        keeper.fold()


def counted(number: int) -> Tally:
    """So many pulls by tag."""
    tally = Tally(journal=True, clients=True)
    who, what = (COUNTED_AT, "10.0.0.7", "", "HEAD"), ("manifest", HUB, str(APP), f"v{number}")
    for _ in range(number):
        tally.add(Answer(*who, *what, str(Digest.of(MANIFEST)), "hit", 200, 0, ""))
    return tally


STORIES: dict[str, Callable[[Store], None]] = {
    "download": download,
    "second_try": second_try,
    "ranges": ranges,
    "manifest": manifest,
    "statistics": statistics,
}


def mortal(name: str, last: int, counter: list[int]) -> Callable[..., Any]:
    really = getattr(os, name)

    def function(*arguments: Any, **options: Any) -> Any:
        counter[0] += 1
        if counter[0] == last:
            if name in ("write", "pwrite"):
                descriptor, data, *rest = arguments
                really(descriptor, data[: len(data) // 2], *rest)
            os._exit(DIED)
        return really(*arguments, **options)

    return function


def live(root: Path, story: Callable[[Store], None], last: int) -> None:
    store = open_store(root)
    counter = [0]
    for name in CHANGES:
        setattr(os, name, mortal(name, last, counter))
    story(store)
    os._exit(LIVED)


def main(root: Path, story: Callable[[Store], None]) -> None:
    time.sleep = lambda seconds: None
    for last in range(1, 1000):
        child = os.fork()
        if not child:
            try:
                live(root / str(last), story, last)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == LIVED:
            print(last, flush=True)
            return
        if code != DIED:
            sys.exit(f"at {last}: {code}")
    sys.exit("it never ends")


if __name__ == "__main__":
    main(Path(sys.argv[1]), STORIES[sys.argv[2]])
