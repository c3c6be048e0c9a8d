"""The requests of a download that others may overtake: each for a span that is missing, and claimed before."""

from __future__ import annotations

import time

from registry_cache.errors import UpstreamTimeout, UpstreamUnavailable
from registry_cache.policy.range_choice import NEAR_SIZE, is_time_to_ask, span_size
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS, RangeResponse
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.span import Span, SpanAhead
from registry_cache.store.piece_file import PIECE_SIZE, PieceClaim, PieceFile

_POLL_SECONDS = 0.01


class OtherSize(UpstreamUnavailable):
    """Upstream has a blob of another size than the pieces are of, which are gone."""


class SpanRequests:
    """What is asked for from one offset of a blob on, up to ``stop`` where that is given. Close it."""

    def __init__(self, reuse: PieceReuse, stop: int | None, *, again: bool) -> None:
        self._reuse = reuse
        self._stop = stop
        # A part waits in memory for its turn, whoever reads it: others must not fetch it meanwhile.
        self.is_part = stop is not None
        self._again = again
        self._ahead: SpanAhead | None = None
        self._arrived, self._began = 0, time.monotonic()
        self._answer_seconds = 0.0

    def arrived(self, size: int) -> None:
        """Note that so many bytes have come: how much is asked for goes by their speed."""
        self._arrived += size

    def next(self, file: PieceFile, at: int, end: int) -> Span | None:
        """Return the answer to a request for what is missing at ``at``; None where somebody else has just brought it.

        ``end``: of what is wanted. Raises what requests raise, and OSError where the disk fails, or cannot lock a part
        of a file: then ``rest`` goes on.
        """
        if span := self._take_ahead(at):
            return span
        self._reuse.yield_to_readers()
        again, self._again = self._again, True
        try:
            claim = self._claim(file, at, end)
            return self._open(file, at, claim, again=again) if claim else None
        except OSError:
            # Nobody was asked yet.
            self._again = again
            raise

    def rest(self, at: int) -> Span:
        """Ask for all that is missing, and claim none of it."""
        again, self._again = self._again, True
        return Span(self._reuse.source.open(at, again, self._stop), at, self._stop, None)

    def ask_ahead(self, file: PieceFile, span: Span, at: int, whole_end: int) -> None:
        """Ask for the span behind ``span``, which is read up to ``at``, where it is time: it then costs no round trip.

        What is here in between is passed over.
        """
        end = span.end
        if self._ahead or self.is_part or end is None or end >= whole_end or self._reuse.source.requests == 1:
            return
        if not is_time_to_ask(at - span.start, end - at, self._speed(), self._answer_seconds):
            return

        def ask() -> Span | None:
            self._reuse.yield_to_readers()
            start = file.here_until(end, whole_end)
            claim = file.claim(start, self._span_stop(start, whole_end)) if start < whole_end else None
            return self._open(file, start, claim, again=True) if claim else None

        self._ahead = SpanAhead(f"next span of {self._reuse.digest}", ask)

    def close(self) -> None:
        """Drop what was asked for ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead:
            ahead.close()

    def _take_ahead(self, at: int) -> Span | None:
        ahead, self._ahead = self._ahead, None
        span = ahead.take() if ahead else None
        if span and span.start != at:
            # A piece in front of it was there, and cannot be read.
            span.close()
            return None
        return span

    def _claim(self, file: PieceFile, at: int, end: int) -> PieceClaim | None:
        """Claim what is missing; None where it has come while somebody else fetched it."""
        until = time.monotonic() + STALL_TIMEOUT_SECONDS
        while file.here_until(at, at + 1) == at:
            claim = file.claim(at, self._span_stop(at, end))
            if claim or not file.has_name():
                return claim
            if time.monotonic() > until:
                raise UpstreamTimeout(
                    f"a range of {self._reuse.digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s"
                )
            time.sleep(_POLL_SECONDS)
        return None

    def _speed(self) -> float:
        return self._arrived / max(time.monotonic() - self._began, 1e-3)

    def _span_stop(self, at: int, end: int) -> int:
        """Return where a request from ``at`` on is to end: at ``end``, if that is not far behind."""
        size = span_size(self._speed(), overlaps=self._reuse.source.requests > 1)
        return end if end - at <= size + NEAR_SIZE else (at + size) // PIECE_SIZE * PIECE_SIZE

    def _open(self, file: PieceFile, at: int, claim: PieceClaim, *, again: bool) -> Span | None:
        """Ask for what is missing from ``at`` on, and claimed; None for nothing. Raises what requests raise."""
        body: RangeResponse | None = None
        try:
            # A second look, with the claim: whoever had it before may have brought them.
            stop = file.gap_until(at, claim.stop)
            if stop > at:
                # What is behind them may be for us to claim again, when we get there.
                claim.shorten(stop)
                is_open = stop == file.size and not self.is_part
                began = time.monotonic()
                body = self._reuse.source.open(at, again, None if is_open else stop)
                self._answer_seconds = time.monotonic() - began
                if not self._reuse.answered(file, body.size):
                    raise OtherSize(f"upstream has {body.size} bytes of {self._reuse.digest}, not {file.size}")
                return Span(body, at, None if is_open else stop, claim)
        except BaseException:
            if body:
                body.close()
            claim.close()
            raise
        claim.close()
        return None
