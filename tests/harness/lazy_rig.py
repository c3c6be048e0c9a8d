"""What one worker has of a store where ranges of cold blobs are fetched by themselves, without a server around it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from registry_cache.oci.digest import Digest
from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobAnswer, BlobPull
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.piece_flights import PieceFlights
from registry_cache.pull.lazy.pull import LazyPull
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.store.piece_files import Pieces
from registry_cache.upstream.client import Lazy
from tests.harness.pull_rig import chunks
from tests.harness.store_rig import APP, Store, open_store
from tests.harness.targets import target_at
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually


class LazyWorker:
    """A worker over a store, configured as ``lazy`` says. Several in one process behave as processes do: locks do.

    ``short_of``: how many bytes a full disk refused, each time.
    """

    def __init__(self, store: Store, url: str, lazy: Lazy = "hold") -> None:
        self.store = open_store(Path(store.layout.root))
        self.pieces = Pieces(self.store.layout)
        self.short_of: list[int] = []
        self.flights = PieceFlights(make_room=lambda digest, size: self.short_of.append(size))
        self.slots = ReaderSlots(100)
        self.transfers = Transfers(
            TransferParts(self.store.blobs, self.store.partials), self.pieces, wait_for_readers=self._wait_for_readers
        )
        blobs, layers = self.store.blobs, Layers(self.store.records)
        access_of = partial(Access, flights=MachineFlights(self.store.layout))
        ranges = LazyPull(blobs, self.pieces, self.flights, self.transfers, self.slots, layers, access_of)
        self.pull = BlobPull(blobs, self.transfers, self.slots, layers, access_of, ranges)
        self.target = target_at(connect(url), APP)
        self.target.upstream.lazy = lazy

    def answer(self, digest: Digest, wanted: str | None = None) -> BlobAnswer:
        """What a client that asks for a range gets, "0-9,20-29", or for the whole. Close its body."""
        return self.pull.get(self.target, digest, range_header=f"bytes={wanted}" if wanted else None)

    def outcome(self, digest: Digest, start: int, stop: int) -> Outcome:
        """Where the first of these bytes come from."""
        answer = self.answer(digest, f"{start}-{stop - 1}")
        answer.body.close()
        return answer.outcome

    def read(self, digest: Digest, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to ``stop``, as a client that asks for them has them."""
        with closing(self.answer(digest, f"{start}-{stop - 1}").body) as body:
            return b"".join(chunks(body, start, stop))

    def whole(self, digest: Digest) -> bytes:
        with closing(self.answer(digest).body) as body:
            return b"".join(chunks(body, 0, body.size))

    def idle(self) -> None:
        """Return when nothing is fetched here, for anybody."""
        eventually(lambda: not self.transfers._running)
        self.idle_flights()

    def idle_flights(self) -> None:
        """Return when no range is fetched in this process."""
        eventually(lambda: not any(each.name.startswith("pieces from") for each in threading.enumerate()))

    def _wait_for_readers(self) -> None:
        self.flights.wait_until_idle(1.0)


@contextmanager
def workers(store: Store, url: str, *lazy: Lazy) -> Iterator[list[LazyWorker]]:
    """A worker for each way; all are idle at the end."""
    found = [LazyWorker(store, url, each) for each in lazy]
    yield found
    for each in found:
        each.idle()
        assert each.slots.taken == 0
