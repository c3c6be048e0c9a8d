"""Which ranges of cold blobs are fetched by themselves, for whom, and when the whole is fetched behind them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from registry_cache.errors import RangeNotSatisfiable, StoreError, TooManyRequests, UpstreamError
from registry_cache.oci.byte_range import ByteRange, has_end, parse_ranges
from registry_cache.oci.digest import Digest
from registry_cache.policy.lazy import RangeFacts, Running, Way, choose, is_worth_filling
from registry_cache.pull.access import Access
from registry_cache.pull.blob_body import PulledBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.cold_range import ColdRange
from registry_cache.pull.lazy.flights import MissingRun, PieceFlights, RangeIgnored
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.shared_images import NOTHING_SHARED, SharedImages
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.source import BlobSource, SourceOf, source_of
from registry_cache.pull.target import Owner, PullTarget
from registry_cache.pull.transfer.registry import Transfers
from registry_cache.runtime import upstream_wait
from registry_cache.runtime.log import Log
from registry_cache.store.partials import Partials
from registry_cache.store.piece_file import PieceFile
from registry_cache.store.pieces import Pieces

# How long an upstream that does not give ranges is asked for none, and one that refuses and does not say for how long.
IGNORED_SECONDS, REFUSED_SECONDS = 600.0, 30.0
# How long the download behind readers of ranges waits for them before each of its requests, at most.
MAX_FILL_PAUSE_SECONDS = 2.0
# Whose access is remembered, and since when blobs are read by ranges; of more, the oldest are forgotten.
_MOST_REMEMBERED = 10_000

_log = Log(__name__)

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """``parts`` of a blob for ``target``, from ``source``."""

    target: PullTarget
    digest: Digest
    parts: list[ByteRange]
    source: BlobSource
    access: Access


class LazyPull:
    """Pulls of ranges, for every upstream over one store."""

    def __init__(
        self,
        pieces: Pieces,
        piece_flights: PieceFlights,
        transfers: Transfers,
        partials: Partials,
        slots: ReaderSlots,
        layers: Layers,
        flights: MachineFlights,
        source_of: SourceOf = source_of,
        shared: SharedImages = NOTHING_SHARED,
    ) -> None:
        """``source_of`` tells where blobs come from; ``shared`` what other nodes know of them."""
        self._source_of = source_of
        self._shared = shared
        self._pieces = pieces
        self._piece_flights = piece_flights
        self._transfers = transfers
        self._partials = partials
        self._slots = slots
        self._layers = layers
        self._flights = flights
        self._mutex = threading.Lock()
        self._proven: OrderedDict[tuple[Owner, Digest], bool] = OrderedDict()
        self._asked_since: OrderedDict[tuple[str, Digest], float] = OrderedDict()
        self._refused_until: dict[str, float] = {}

    def get(
        self, target: PullTarget, digest: Digest, header: str, follow: Callable[[], PulledBlob]
    ) -> tuple[Outcome, PulledBlob] | None:
        """Return the range of a blob that ``header`` asks for; None where it comes by a download of the whole.

        ``follow`` returns the whole. Raises NotFound, Denied, RangeNotSatisfiable, Busy.
        """
        name = target.upstream.name
        if target.upstream.lazy == "off" or time.monotonic() < self._refused_until.get(name, 0.0):
            return None
        try:
            if self._transfers.rests:
                self._transfers.rests.check(target.owner, digest)
            with upstream_wait.waiting():
                return self._get(target, digest, header, follow)
        except (StoreError, UpstreamError, TooManyRequests) as error:
            # A download tries again, does without the disk, and says what is wrong.
            self._note_refusal(name, error)
            _log.info("downloading a blob instead of a range", digest=digest, error=error)
            return None

    def _get(
        self, target: PullTarget, digest: Digest, header: str, follow: Callable[[], PulledBlob]
    ) -> tuple[Outcome, PulledBlob] | None:
        file = self._pieces.open(target.upstream.name, digest)
        access = Access(target, digest, self._flights, self._shared)
        access.proven = self._is_proven(target, digest, file)
        parts = self._parts(target, digest, header, file, access)
        if not parts or self._way(target, digest, parts) is Way.DOWNLOAD:
            return None
        source = self._source_of(target, digest, is_stored=True, is_for_parts=True)
        wanted = _Wanted(target, digest, parts, source, access)
        file = file or self._pieces.make(target.upstream.name, digest, parts[0].size)
        if file.size != parts[0].size:
            return None
        file.note_use()
        self._slots.take()
        try:
            outcome = self._begin(wanted, file)
            whole = _Whole(self, target, digest, file.size, follow)
            run, width = MissingRun(file, digest, source), target.upstream.blob_requests
            body = ColdRange(run, self._piece_flights, self._slots, whole, parts, width)
        except BaseException:
            self._slots.give_back()
            raise
        self._fill_behind(wanted, file)
        return outcome, body

    def _parts(
        self, target: PullTarget, digest: Digest, header: str, file: PieceFile | None, access: Access
    ) -> list[ByteRange]:
        """Return what is asked for, if all of that has an end; [] otherwise, or where nobody knows the size."""
        if not has_end(header):
            return []
        size = file.size if file and access.proven else self._layers.size(target, digest)
        try:
            parts = parse_ranges(header, size) if size is not None else []
        except RangeNotSatisfiable:
            # What a manifest says is a hint. Upstream has the word.
            parts = []
        if not parts:
            access.prove()
            parts = parse_ranges(header, access.size) if access.size is not None else []
        return parts

    def _begin(self, wanted: _Wanted, file: PieceFile) -> Outcome:
        """Prove access, and have the first missing piece fetched. Raises what upstream says."""
        key = wanted.target.owner, wanted.digest
        missing = [(part, file.here_until(part.start, part.stop)) for part in wanted.parts]
        part, here = next(((part, here) for part, here in missing if here < part.stop), missing[0])
        outcome, flight = Outcome.HIT, None
        if here < part.stop:
            end = file.gap_until(here, part.stop)
            run = MissingRun(file, wanted.digest, wanted.source)
            flight, is_new = self._piece_flights.join(run, here, end, lambda: self._fill_behind(wanted, file))
            outcome = Outcome.MISS if is_new else Outcome.JOIN
        if flight and here == wanted.parts[0].start and (wanted.access.proven or flight.owner == wanted.target.owner):
            try:
                flight.wait_for_answer()
            except BaseException:
                self._discard_empty(wanted, file)
                raise
            wanted.access.proven = True
        if outcome is Outcome.MISS and wanted.source.was_near():
            outcome = Outcome.NEAR
        wanted.access.prove()
        with self._mutex:
            _remember(self._proven, key, True)
        return outcome

    def _discard_empty(self, wanted: _Wanted, file: PieceFile) -> None:
        if file.gap_until(0, file.size) == file.size and not file.is_claimed():
            self._pieces.discard(wanted.target.upstream.name, wanted.digest)

    def _is_proven(self, target: PullTarget, digest: Digest, file: PieceFile | None) -> bool:
        return (file is not None and file.owner == str(target.repository)) or (
            file is not None and (target.owner, digest) in self._proven
        )

    def _way(self, target: PullTarget, digest: Digest, parts: list[ByteRange]) -> Way:
        """Decide by the first part that is missing, and by all of them for how much is asked for."""
        name, first, size = target.upstream.name, parts[0], parts[0].size
        running = self._running(name, digest, first.start)
        answer_seconds = self._piece_flights.answer_seconds(name)
        ways = [
            choose(RangeFacts(part.start, part.stop, size, running, answer_seconds, sum(map(len, parts))))
            for part in parts
        ]
        return Way.PIECES if Way.PIECES in ways else Way.DOWNLOAD

    def _running(self, upstream: str, digest: Digest, start: int) -> Running | None:
        """Return the download of the whole from this upstream, here or in another process.

        One that was interrupted counts where it has the range already.
        """
        progress = self._transfers.find(digest)
        if progress:
            is_ours = progress.owner is None or progress.owner[0] == upstream
            return Running(progress.available, *progress.recent()) if is_ours else None
        status = self._partials.status(digest)
        file = self._partials.open(digest) if status and status.upstream == upstream and not status.error else None
        if file and (start < file.size() or self._partials.is_led(digest)):
            return Running(file.size())
        return None

    def _fill_behind(self, wanted: _Wanted, file: PieceFile) -> None:
        """Start the download of the whole, for nobody, where clients go on reading the blob."""
        name, now = wanted.target.upstream.name, time.monotonic()
        with self._mutex:
            since = self._asked_since.get((name, wanted.digest), now)
            _remember(self._asked_since, (name, wanted.digest), since)
        if wanted.target.upstream.lazy != "fill" or self._transfers.find(wanted.digest):
            return
        if is_worth_filling(file.bytes_here(), file.size, now - since):
            source = self._source_of(wanted.target, wanted.digest, self._layers, is_stored=True)
            progress, _ = self._transfers.join(wanted.digest, source)
            self._transfers.leave(progress)

    def _note_refusal(self, upstream: str, error: Exception) -> None:
        seconds = 0.0
        if isinstance(error, RangeIgnored):
            seconds = IGNORED_SECONDS if error.is_habit else 0.0
        elif isinstance(error, TooManyRequests):
            seconds = error.retry_after or REFUSED_SECONDS
        if seconds:
            self._refused_until[upstream] = time.monotonic() + seconds


@dataclass(frozen=True, slots=True)
class _Whole:
    """What one range may fall back to."""

    pull: LazyPull
    target: PullTarget
    digest: Digest
    size: int
    follow: Callable[[], PulledBlob]

    def way(self, start: int, stop: int) -> Way:
        return self.pull._way(self.target, self.digest, [ByteRange(start, stop, self.size)])


def _remember(known: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > _MOST_REMEMBERED:
        known.popitem(last=False)
