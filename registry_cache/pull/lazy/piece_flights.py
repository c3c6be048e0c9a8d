"""Fetch missing pieces of blobs, each once, whoever wants them: a thread for each run of them, which belongs to nobody.

Other processes are kept away by the claim on the pieces, and are seen by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from registry_cache.errors import RegistryError, StoreError, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.reader_timeout import wait_for_change
from registry_cache.pull.resume import ResumingFetch
from registry_cache.pull.source import BlobSource
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.piece_file import PieceClaim, PieceFile

# Bytes of one request. Who wants more makes several, one after another, so that nobody waits long behind another's.
MAX_RUN = 4 * 1024 * 1024
# Flights of one upstream that nobody waits for, for so long; with as many no other is begun. They are of clients that
# ask and leave: 300 such requests held 1,100 descriptors for as long as upstream sent a byte now and then.
MAX_LEFT = 64
LEFT_SECONDS = 1.0
# How much an answer's time counts against those before it.
_NEWEST_SHARE = 0.3
# Before the first answer.
_FIRST_ANSWER_SECONDS = 0.1

_log = Log(__name__)


class RangeIgnored(UpstreamError):
    """Upstream answered a range with something else: only a download of the whole gets its bytes.

    ``is_habit``: it gave no range that may be shown, and will give no other.
    """

    is_habit = False


@dataclass(frozen=True, slots=True)
class MissingRun:
    """Where missing pieces of a blob come from, and where they go. ``passed``: how far a download of the whole is."""

    file: PieceFile
    digest: Digest
    source: BlobSource
    passed: Callable[[], int] = lambda: 0


class PieceFlight:
    """One run of pieces under way into ``file``, for ``owner``, from ``start`` to ``stop``."""

    def __init__(self, file: PieceFile, owner: FullName, start: int, stop: int) -> None:
        self.file = file
        self.owner = owner
        self.start = self.at = start
        self.stop = stop
        self.error: RegistryError | None = None
        self._has_answer = False
        self._ended = False
        self._changed = threading.Condition()
        self._waiting = 0
        self._left_at = time.monotonic()

    def is_left(self, now: float) -> bool:
        """Tell whether nobody has waited for it for a while, by the monotonic clock."""
        return not self._waiting and now - self._left_at >= LEFT_SECONDS

    def wait_for_answer(self) -> None:
        """Return when upstream has answered with the range. Raises what it said otherwise."""
        self._wait(lambda: self._has_answer)

    def wait_past(self, offset: int) -> None:
        """Return when the byte at ``offset`` is here, or the flight has ended. Raises what ended it before that."""
        self._wait(lambda: self.at > offset)

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            self._waiting += 1
            try:
                self._wait_for_change(ready)
            finally:
                self._waiting -= 1
                self._left_at = time.monotonic()
            if self.error and not ready():
                raise self.error

    def _wait_for_change(self, ready: Callable[[], bool]) -> None:
        while not (ready() or self._ended):
            wait_for_change(self._changed, lambda: self.at, "a range")

    def answered(self) -> None:
        with self._changed:
            self._has_answer = True
            self._changed.notify_all()

    def advance(self, at: int) -> None:
        with self._changed:
            self.at = at
            self._changed.notify_all()

    def end(self, error: RegistryError | None) -> None:
        with self._changed:
            self._ended, self.error = True, error
            self._changed.notify_all()


class PieceFlights:
    """The pieces that this process fetches.

    ``count`` hears how many bytes were kept; ``make_room`` of which blob's pieces a full disk refused so many bytes.
    """

    def __init__(
        self,
        count: Callable[[int], None] = lambda size: None,
        make_room: Callable[[Digest, int], None] = lambda digest, size: None,
    ) -> None:
        self._count = count
        self._make_room = make_room
        self._mutex = threading.Lock()
        self._idle = threading.Condition(self._mutex)
        self._running: dict[tuple[str, Digest], list[PieceFlight]] = {}
        self._answer_seconds: dict[str, float] = {}

    def answer_seconds(self, upstream: str) -> float:
        """Return how long ``upstream`` takes to answer a range."""
        return self._answer_seconds.get(upstream, _FIRST_ANSWER_SECONDS)

    def wait_until_idle(self, seconds: float) -> None:
        """Return when nobody waits for pieces, or after so many ``seconds``."""
        with self._idle:
            self._idle.wait_for(lambda: not self._running, seconds)

    def refuse_too_many(self, upstream: str) -> None:
        """Raise UpstreamUnavailable where flights that clients have left pile up; downloads have their own bound."""
        now = time.monotonic()
        with self._mutex:
            flights = [each for key, found in self._running.items() if key[0] == upstream for each in found]
            left = sum(flight.is_left(now) for flight in flights)
        if left >= MAX_LEFT:
            raise UpstreamUnavailable(f"{left} ranges of {upstream} that nobody reads any more have not come yet")

    def join(
        self, run: MissingRun, start: int, stop: int, landed: Callable[[], None] = lambda: None
    ) -> tuple[PieceFlight | None, bool]:
        """Return the flight that brings the missing byte at ``start``, and True where it was begun for us.

        None where another process fetches it, or where it has come meanwhile. ``landed`` is called when a flight that
        was begun for us has brought its bytes. Raises StoreError.
        """
        key = run.source.owner.upstream, run.digest
        with self._mutex:
            for flight in self._running.get(key, ()):
                if flight.start <= start < flight.stop:
                    return flight, False
            with disk.store_errors(f"claim pieces of {run.digest}"):
                claim, end = _claim(run, start, min(stop, start + MAX_RUN))
            if claim is None:
                return None, False
            flight = PieceFlight(run.file, run.source.owner, claim.start, end)
            self._running.setdefault(key, []).append(flight)
        name = f"pieces from {flight.start} of {run.digest}"
        request_context.start_thread(name, self._run, run, claim, flight, landed)
        return flight, True

    def _run(self, run: MissingRun, claim: PieceClaim, flight: PieceFlight, landed: Callable[[], None]) -> None:
        error: RegistryError | None = None
        try:
            self._fetch(run, flight)
        except RegistryError as failure:
            error = failure
            _log.info("could not fetch a range", digest=run.digest, at=flight.at, error=failure)
        except Exception as failure:  # noqa: BLE001 — who waits must learn of any end
            _log.exception("a range ended with a defect", digest=run.digest)
            error = StoreError(f"a range of {run.digest} broke: {type(failure).__name__}")
        # Who then finds the pieces missing must find them free, too.
        claim.close()
        with self._mutex:
            key = run.source.owner.upstream, run.digest
            self._running[key].remove(flight)
            if not self._running[key]:
                del self._running[key]
            self._idle.notify_all()
        flight.end(error)
        self._count(flight.at - flight.start)
        if error is None:
            landed()
        if run.file.lacks_room:
            self._make_room(run.digest, flight.stop - flight.start)
        elif error and disk.is_full(error):
            self._make_room(run.digest, flight.stop - flight.at)

    def _fetch(self, run: MissingRun, flight: PieceFlight) -> None:
        began, source, what = time.monotonic(), run.source, f"keep pieces of {run.digest}"
        with closing(ResumingFetch.begin(run.digest, source.open, flight.start, flight.stop, again=False)) as fetch:
            self._note_answer(source.owner.upstream, time.monotonic() - began)
            # What is from inside our network, or may have to be decoded, is for nobody before its digest is right.
            is_useless = not fetch.bounded or source.inside_error() is not None or source.is_guess()
            if is_useless or fetch.size != run.file.size:
                ignored = RangeIgnored(f"{source.owner.upstream} answered a range of {run.digest} with something else")
                ignored.is_habit = is_useless
                raise ignored
            with disk.store_errors(what):
                run.file.set_owner(str(source.owner.repository))
            flight.answered()
            pending = bytearray()
            for chunk in fetch:
                pending += chunk
                with disk.store_errors(what):
                    kept = run.file.write(flight.at, bytes(pending))
                del pending[:kept]
                if kept:
                    flight.advance(flight.at + kept)
                # A fast upstream never makes this thread wait, and under gevent nobody else would run.
                time.sleep(0)

    def _note_answer(self, upstream: str, seconds: float) -> None:
        before = self._answer_seconds.get(upstream, seconds)
        self._answer_seconds[upstream] = before + _NEWEST_SHARE * (seconds - before)


def _claim(run: MissingRun, start: int, stop: int) -> tuple[PieceClaim | None, int]:
    """Claim the missing pieces from ``start`` on; return the claim, and the offset of the first that is here."""
    claim = run.file.claim(start, stop)
    if claim is None:
        return None, start
    try:
        # A second look, with the claim: whoever had it before may have brought them, or a download has passed here.
        end = run.file.gap_until(claim.start, claim.stop)
        if end > claim.start >= run.passed():
            claim.shorten(end)
            return claim, end
    except BaseException:
        claim.close()
        raise
    claim.close()
    return None, start
