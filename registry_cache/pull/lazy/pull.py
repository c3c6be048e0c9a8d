"""Which ranges of cold blobs are fetched by themselves, for whom, and when the whole is fetched behind them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from cachetools import LRUCache

from registry_cache.errors import RangeNotSatisfiable, StoreError, TooManyRequests, UpstreamError
from registry_cache.oci.byte_range import ByteRange, has_end, parse_ranges
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.policy.range_choice import RangeFacts, Way, choose, is_worth_filling
from registry_cache.pull.access import Access, AccessOf
from registry_cache.pull.blob_body import PulledBlob
from registry_cache.pull.cluster.ranges import NearRanges
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.cold_range import ColdRange
from registry_cache.pull.lazy.piece_flights import MissingRun, PieceFlights, RangeIgnored
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.source import BlobSource, SourceOf, WantedBlob, source_of
from registry_cache.pull.target import PullTarget
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.blobs import Blobs
from registry_cache.store.piece_file import PieceFile
from registry_cache.store.piece_files import Pieces

# How long an upstream that does not give ranges is asked for none, and one that refuses and does not say for how long.
IGNORED_SECONDS, REFUSED_SECONDS = 600.0, 30.0
# How long the download behind readers of ranges waits for them before each of its requests, at most.
MAX_FILL_PAUSE_SECONDS = 2.0
# Whose access is remembered; of more, the oldest are forgotten.
_MOST_REMEMBERED = 10_000

_log = Log(__name__)


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
        blobs: Blobs,
        pieces: Pieces,
        piece_flights: PieceFlights,
        transfers: Transfers,
        slots: ReaderSlots,
        layers: Layers,
        access_of: AccessOf,
        source_of: SourceOf = source_of,
        near: NearRanges | None = None,
    ) -> None:
        """``source_of`` tells where blobs come from; ``near``: the other nodes of a cluster, which are asked before."""
        self._source_of = source_of
        self._near = near
        self._blobs = blobs
        self._pieces = pieces
        self._piece_flights = piece_flights
        self._transfers = transfers
        self._slots = slots
        self._layers = layers
        self._access_of = access_of
        self._mutex = threading.Lock()
        self._proven: LRUCache[tuple[FullName, Digest], bool] = LRUCache(_MOST_REMEMBERED)
        self._refused_until: dict[str, float] = {}

    def get(
        self,
        target: PullTarget,
        digest: Digest,
        header: str,
        follow: Callable[[], PulledBlob],
        *,
        for_peer: bool = False,
    ) -> tuple[Outcome, PulledBlob] | None:
        """Return the range of a blob that ``header`` asks for; None where it comes by a download of the whole.

        ``follow`` returns the whole. ``for_peer``: another node asks, so none is asked in turn. Raises NotFound,
        Denied, RangeNotSatisfiable, Busy.
        """
        if not self.is_for(target):
            return None
        try:
            if self._transfers.parts.wrong_bytes:
                self._transfers.parts.wrong_bytes.check(target.name, digest)
            with request_context.waiting(), disk.store_errors(f"use the pieces of {digest}"):
                return self._get(target, digest, header, follow, for_peer)
        except (StoreError, UpstreamError, TooManyRequests) as error:
            # A download tries again, does without the disk, and says what is wrong.
            self._note_refusal(target.upstream.name, error)
            _log.info("downloading a blob instead of a range", digest=digest, error=error)
            return None

    def size(self, target: PullTarget, digest: Digest) -> int | None:
        """Return the size of a blob of which this repository was given pieces; None where it was not.

        The snapshotter for eStargz asks for it behind its first range, by a HEAD for each layer (P84).
        """
        try:
            file = self._pieces.open(target.upstream.name, digest) if self.is_for(target) else None
        except StoreError:
            # Upstream tells it, and the range that follows what is wrong with the disk.
            return None
        return file.size if file and self._is_proven(target, digest, file) else None

    def is_for(self, target: PullTarget) -> bool:
        """Return whether ranges may be asked of the target's upstream: as configured, and while it refuses none."""
        return target.upstream.lazy != "off" and time.monotonic() >= self._refused_until.get(target.upstream.name, 0.0)

    def _get(
        self, target: PullTarget, digest: Digest, header: str, follow: Callable[[], PulledBlob], for_peer: bool
    ) -> tuple[Outcome, PulledBlob] | None:
        file = self._pieces.open(target.upstream.name, digest)
        access = self._access_of(target, digest)
        access.proven = self._is_proven(target, digest, file)
        parts = self._parts(target, digest, header, file, access)
        if not parts or self._way(target, digest, parts, file) is Way.DOWNLOAD:
            return None
        if self._blobs.open_any(digest):
            # Another repository's, or committed since we looked.
            return None
        source = self._source_of(WantedBlob(target, digest, self._layers, is_stored=True, is_for_parts=True))
        if self._near:
            source = self._near.source(digest, source, for_peer=for_peer)
        wanted = _Wanted(target, digest, parts, source, access)
        self._piece_flights.refuse_too_many(target.upstream.name)
        file = file or self._pieces.make(target.upstream.name, digest, parts[0].size)
        if file.size != parts[0].size:
            return None
        file.note_use()
        self._slots.take()
        try:
            outcome = self._begin(wanted, file)
            whole = _Whole(self, target, digest, file.size, follow)
            run, width = self._run(wanted, file), target.upstream.blob_requests
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
        read = ((file.here_until(part.start, part.stop), part.stop) for part in wanted.parts)
        missing = next(((here, stop) for here, stop in read if here < stop), None)
        outcome = self._begin_at(wanted, file, *missing) if missing else Outcome.HIT
        wanted.access.prove()
        with self._mutex:
            self._proven[wanted.target.name, wanted.digest] = True
        return outcome

    def _begin_at(self, wanted: _Wanted, file: PieceFile, here: int, stop: int) -> Outcome:
        """Have what is missing from ``here`` on fetched; prove access by the answer, where that comes first."""
        run, end = self._run(wanted, file), file.gap_until(here, stop)
        flight, is_new = self._piece_flights.join(run, here, end, lambda: self._fill_behind(wanted, file))
        if flight and here == wanted.parts[0].start and (wanted.access.proven or flight.owner == wanted.target.name):
            try:
                flight.wait_for_answer()
            except BaseException:
                self._pieces.discard_empty(wanted.target.upstream.name, wanted.digest, file)
                raise
            wanted.access.proven = True
        if not is_new:
            return Outcome.JOIN
        return Outcome.NEAR if wanted.source.was_near() else Outcome.MISS

    def _run(self, wanted: _Wanted, file: PieceFile) -> MissingRun:
        def passed() -> int:
            running = self._transfers.running(wanted.target.upstream.name, wanted.digest, 0)
            return running.position if running else 0

        return MissingRun(file, wanted.digest, wanted.source, passed)

    def _is_proven(self, target: PullTarget, digest: Digest, file: PieceFile | None) -> bool:
        return file is not None and (file.owner == str(target.name.repository) or (target.name, digest) in self._proven)

    def _way(self, target: PullTarget, digest: Digest, parts: list[ByteRange], file: PieceFile | None = None) -> Way:
        """Return PIECES where that is best for any part, by how much all ask for and whether ``file`` has it."""
        name, first, size = target.upstream.name, parts[0], parts[0].size
        running = self._transfers.running(name, digest, first.start)
        answer_seconds, asked = self._piece_flights.answer_seconds(name), sum(map(len, parts))
        for part in parts:
            # Without a download there is nothing that could come sooner.
            is_here = running is not None and file is not None and file.here_until(part.start, part.stop) == part.stop
            facts = RangeFacts(part.start, part.stop, size, running, answer_seconds, asked, is_here)
            if choose(facts) is Way.PIECES:
                return Way.PIECES
        return Way.DOWNLOAD

    def _fill_behind(self, wanted: _Wanted, file: PieceFile) -> None:
        """Start the download of the whole, for nobody, where clients go on reading the blob."""
        if wanted.target.upstream.lazy != "fill" or file.is_refused or self._transfers.find(wanted.digest):
            return
        if is_worth_filling(file.bytes_here(), file.size, time.time() - file.made):
            source = self._source_of(WantedBlob(wanted.target, wanted.digest, self._layers, is_stored=True))
            source = replace(source, can_be_overtaken=True)
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

    def is_here(self) -> bool:
        return self.pull._blobs.open_any(self.digest) is not None

    def way(self, start: int, stop: int) -> Way:
        return self.pull._way(self.target, self.digest, [ByteRange(start, stop, self.size)])
