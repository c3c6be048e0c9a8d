"""A part of a blob that is not whole here, for one client: from pieces that are here, and from those that come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Protocol

from registry_cache.errors import RegistryError, StoreError, TooManyRequests, UpstreamError, UpstreamTimeout
from registry_cache.oci.byte_range import ByteRange
from registry_cache.policy.range_choice import Way
from registry_cache.pull.blob_body import Cut, FilePart, PulledBlob
from registry_cache.pull.lazy.piece_flights import MissingRun, PieceFlight, PieceFlights
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store import disk

# How often to look whether another process has brought a piece.
_FIRST_POLL, _LAST_POLL = 0.002, 0.02

_log = Log(__name__)


class WholePull(Protocol):
    """What a range falls back to, and what it asks about the download of the whole."""

    def follow(self) -> PulledBlob:
        """Return the whole blob, here or on its way. Raises every RegistryError."""

    def is_here(self) -> bool:
        """Tell whether the whole is here. Raises StoreError."""

    def way(self, start: int, stop: int) -> Way:
        """Return how these bytes, which are missing, come soonest."""


class ColdRange:
    """Ranges of one blob for one client, whose access is proven. Has a slot; ``close`` gives it back.

    ``size`` in bytes as upstream said it.
    """

    stored = False

    def __init__(
        self,
        run: MissingRun,
        flights: PieceFlights,
        slots: ReaderSlots,
        whole: WholePull,
        wanted: Sequence[ByteRange],
        width: int,
    ) -> None:
        """``wanted``: what will be read, in this order; it is asked for by ``width`` requests at once at most."""
        self.size: int | None = run.file.size
        self._end = run.file.size
        self._run = run
        self._file = run.file
        self._digest = run.digest
        self._source = run.source
        self._flights = flights
        self._slots = slots
        self._whole = whole
        self._wanted = list(wanted)
        self._width = width
        self._open = True
        self._has_given = False

    def parts(self, start: int, stop: int | None, *, from_file: bool) -> Iterator[bytes | FilePart]:
        at, stop = start, self._end if stop is None else stop
        self._ask_ahead(start)
        while at < stop:
            data = self._read(at, min(stop, at + self._slots.chunk_size()))
            if data:
                at += len(data)
                self._has_given = True
                yield data
                # A reader that its socket never holds up would hold up all others of a gevent worker.
                time.sleep(0)
                continue
            with request_context.waiting():
                rest = self._bring(at, stop)
            if rest:
                yield from rest(at, stop)
                return

    def wait_for_size(self) -> None:
        """Return: it is known."""

    def wait_until_stored(self) -> None:
        """Return when the whole is here. Raises as ``PulledBlob`` says."""
        body = self._whole.follow()
        try:
            body.wait_until_stored()
        finally:
            body.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._slots.give_back()

    def _ask_ahead(self, start: int) -> None:
        """Have the next parts fetched behind the one that begins at ``start``, so that none waits for its answer."""
        index = next((index for index, part in enumerate(self._wanted) if part.start == start), None)
        if index is None:
            return
        # Each part is read once, in order; parts may begin at one place.
        del self._wanted[: index + 1]
        for part in self._wanted[: self._width - 1]:
            try:
                here = self._file.here_until(part.start, part.stop)
                if here < part.stop and self._whole.way(here, part.stop) is Way.PIECES:
                    self._flights.join(self._run, here, self._file.gap_until(here, part.stop))
            except (OSError, StoreError) as error:
                # It is tried again when it is read.
                _log.debug("could not ask for a range ahead", digest=self._digest, error=error)
                return

    def _read(self, at: int, stop: int) -> bytes:
        try:
            return self._file.read(at, stop)
        except OSError as error:
            _log.debug("could not read pieces", digest=self._digest, error=error)
            return b""

    def _bring(self, at: int, stop: int) -> Callable[[int, int], Iterator[bytes | FilePart]] | None:
        """Wait for the missing byte at ``at``; return what yields the rest where it must come in another way."""
        began, pause = time.monotonic(), _FIRST_POLL
        while self._file.has_name() and self._whole.way(at, stop) is Way.PIECES:
            try:
                with disk.store_errors(f"look for pieces of {self._digest}"):
                    end = self._file.gap_until(at, stop)
                flight, _ = self._flights.join(self._run, at, end)
                if flight:
                    flight.wait_past(at)
                    if self._has_landed(flight, at):
                        return None
            except StoreError as error:
                _log.info("streaming a range through, uncached", digest=self._digest, at=at, error=error)
                return self._pass_through
            except (UpstreamError, TooManyRequests) as error:
                if request_context.client_has_left():
                    # Nobody wants the range, and still less the whole.
                    raise Cut(error) from error
                _log.info("following the whole blob instead of a range", digest=self._digest, at=at, error=error)
                return self._follow
            except RegistryError as error:
                raise Cut(error) from error
            if self._read(at, at + 1):
                return None
            if flight or end == at:
                # It is here, and the disk does not give it.
                return self._pass_through
            # Another process fetches it.
            if time.monotonic() - began > STALL_TIMEOUT_SECONDS:
                raise Cut(UpstreamTimeout(f"a range of {self._digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s"))
            time.sleep(pause)
            pause = min(2 * pause, _LAST_POLL)
        self._refuse_lost_pieces()
        return self._follow

    def _has_landed(self, flight: PieceFlight, at: int) -> bool:
        """Tell whether what it has brought can be read; it may have found no room on the disk, where ours had some."""
        if self._read(at, at + 1):
            return True
        if flight.file.size == self._end:
            self._file = flight.file
            self._run = replace(self._run, file=flight.file)
        return bool(self._read(at, at + 1))

    def _refuse_lost_pieces(self) -> None:
        """Raise Cut where our client has bytes of pieces that are gone, and the whole is not here.

        They were wrong, and must not be continued; or they were evicted, and nobody has asked for the whole.
        """
        try:
            if not self._has_given or self._file.has_name() or self._whole.is_here():
                return
        except StoreError as error:
            raise Cut(error) from error
        raise Cut(UpstreamTimeout(f"the pieces of {self._digest} are gone; they are fetched again"))

    def _follow(self, at: int, stop: int) -> Iterator[bytes | FilePart]:
        """Yield the rest from the whole blob, which takes over what is here in pieces."""
        try:
            body = self._whole.follow()
        except RegistryError as error:
            raise Cut(error) from error
        try:
            if body.size not in (None, self._end):
                raise Cut(UpstreamError(f"{self._digest} had {self._end} bytes, now {body.size}"))
            if not body.stored:
                # It may have been found to be wrong by now.
                self._refuse_lost_pieces()
            yield from body.parts(at, stop, from_file=False)
        finally:
            body.close()

    def _pass_through(self, at: int, stop: int) -> Iterator[bytes | FilePart]:
        """Yield the rest as upstream sends it: the disk does not keep it."""
        try:
            with closing(ResumingFetch.begin(self._digest, self._source.open, at, stop)) as fetch:
                if error := self._source.inside_error():
                    raise error
                for chunk in fetch:
                    yield chunk[: stop - at]
                    at += len(chunk)
                    if at >= stop:
                        return
        except RegistryError as error:
            raise Cut(error) from error
        raise Cut(UpstreamTimeout(f"upstream ended {self._digest} at byte {at}"))
