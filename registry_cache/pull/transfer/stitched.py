"""What a download reads: pieces of the blob that are here already, and from upstream what is between them.

Where somebody reads ranges, a download claims what it asks for, in spans that have an end: what readers fetch ahead of
it is never on its own line, and what is on its line they wait for. Any other download asks for all of it at once, looks
now and then for pieces that were fetched ahead, and ends its request where they begin.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from registry_cache.errors import UpstreamTimeout, UpstreamUnavailable
from registry_cache.policy.range_choice import MAX_RANGE, MIN_GAIN_SECONDS, NEAR_SIZE, span_size
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS, RangeResponse
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.span import Span, SpanAhead
from registry_cache.store.piece_file import PIECE_SIZE, PieceClaim, PieceFile

# Where nothing is claimed: how soon to look for pieces that somebody fetches ahead, in bytes and in seconds, and how
# far. Who fetches them is further ahead than this (``policy/range_choice.py``), or the download would run into them and
# have them sent again; by half the seconds, as a machine may be busy. More often would cost a fast line a percent.
LOOK_EVERY, LOOK_AHEAD = NEAR_SIZE, 16 * 1024 * 1024
LOOK_SECONDS = MIN_GAIN_SECONDS / 2
_READ_SIZE = 256 * 1024
_POLL_SECONDS = 0.01


class _OtherSize(UpstreamUnavailable):
    """Upstream has a blob of another size than the pieces are of, which are gone."""


def open_stitched(reuse: PieceReuse, start: int, again: bool, stop: int | None = None) -> RangeResponse:
    """Ask for bytes as ``reuse.source.open`` does, where they are not here. Raises what that raises."""
    file = reuse.find()
    if file is None and reuse.claims_spans:
        file = reuse.make(reuse.source.expected())
    if file is None or not start < file.size:
        return _open_unclaimed(reuse, start, again, stop)
    stitched = _Stitched(reuse, file, start, stop, again=again)
    if reuse.is_ours(file):
        return stitched
    try:
        if not stitched.begin():
            # What is here was given to another repository: upstream must say that ours may have it.
            reuse.source.open(0, again, 1).close()
    except _OtherSize:
        return _open_unclaimed(reuse, start, again, stop)
    except BaseException:
        reuse.discard_empty(file)
        raise
    return stitched


def _open_unclaimed(reuse: PieceReuse, start: int, again: bool, stop: int | None) -> RangeResponse:
    """Ask for what there are no pieces of: to the end, or for a first span where readers may overtake it.

    Once its size is known, the spans behind the first are claimed.
    """
    asked = stop
    if stop is None and reuse.claims_spans and reuse.source.expected() is None:
        # To the end of a piece: what is claimed there must be what was asked for.
        asked = (start + MAX_RANGE) // PIECE_SIZE * PIECE_SIZE
    body = reuse.source.open(start, again, asked)
    if stop is None and asked is not None and body.stop is not None and body.size is None:
        # Nobody could tell the span's end from the blob's.
        body.close()
        body, asked = reuse.source.open(start, True, None), None
    stitched = _Stitched(reuse, None, start, stop, again=True)
    stitched.take(Span(body, start, asked, None))
    return stitched


class _Stitched:
    """A RangeResponse of what is here and what one request after another brings, from ``start`` on."""

    def __init__(self, reuse: PieceReuse, file: PieceFile | None, start: int, stop: int | None, *, again: bool) -> None:
        self.start = self._at = start
        self.size = file.size if file else None
        self.stop = stop if stop is None or file is None else min(stop, file.size)
        self._reuse = reuse
        self._file = file
        # A part waits in memory for its turn, whoever reads it: others must not fetch it meanwhile.
        self._is_part = stop is not None
        self._again = again
        self._span: Span | None = None
        self._ahead: SpanAhead | None = None
        self._read_spans: list[Span] = []
        self._looked_at, self._looked = start, reuse.clock()
        self._meets_at: int | None = None
        self._arrived, self._began = 0, time.monotonic()

    # Begin, by one of these.

    def begin(self) -> bool:
        """Ask for what is missing at ``start``, now; False where that is here by now. Raises what requests raise."""
        self._span = self._next_span(self._file, self._end(self._file.size)) if self._file else None
        if self._span and self._span.end is None and self._is_part:
            self.stop = self._span.body.stop
        return self._span is not None

    def take(self, span: Span) -> None:
        """Begin with the answer to a request that was made without a file of pieces."""
        self._span, self.size = span, span.body.size
        if self._is_part:
            self.stop = span.body.stop
        if span.end is None or self._is_part:
            return
        file = self._reuse.make(self.size)
        if file is None or not self._reuse.answered(file, self.size):
            return
        try:
            span.claim = file.claim(span.start, span.end)
        except OSError as error:
            self._reuse.give_up(error)
            return
        self._file = file
        # What others have claimed in the same moment ends it.
        span.stop = span.claim.stop if span.claim else span.end

    # What is read, in order.

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes in order. Raises what requests raise."""
        while True:
            before, end = self._at, self._end(self.size)
            if self._span is None and self._file:
                yield from self._from_pieces(self._file, end)
                self._span = self._next_span(self._file, end) if self._at < end else None
            elif self._span is None and before < end:
                self._span = self._ask_for_rest(again=True)
            if self._span:
                span, self._span = self._span, None
                self._read_spans.append(span)
                yield from self._read(span)
                self._end_span(span)
                if not self._goes_on(span):
                    return
            if self._at == before or self._at >= end:
                return

    def _end(self, size: int | None) -> int:
        """Return where the bytes that were asked for end, as far as anybody knows."""
        ends = [each for each in (self.stop, size) if each is not None]
        return min(ends, default=1 << 62)

    def _from_pieces(self, file: PieceFile, end: int) -> Iterator[bytes]:
        while self._at < end and (data := self._reuse.read(file, self._at, min(end, self._at + _READ_SIZE))):
            self._at += len(data)
            yield data

    def _read(self, span: Span) -> Iterator[bytes]:
        """Yield what one request brings: to its end, or to where somebody else has begun to fetch."""
        end = span.end
        if end is None and span.stop is not None:
            # Behind what was claimed it goes on like a request that claimed nothing.
            span.free()
        for chunk in span.body:
            piece = chunk if end is None else chunk[: end - self._at]
            self._at += len(piece)
            self._arrived += len(piece)
            if piece:
                yield piece
            if end is not None and self._at >= end:
                return
            if end is not None:
                self._ask_ahead(span, end)
            elif span.claim is None and self._meets():
                return

    def _end_span(self, span: Span) -> None:
        """Close what was read to its end. The claim of a part stays until ``close``."""
        span.body.close()
        if not self._is_part:
            span.free()
            self._read_spans.remove(span)

    def _goes_on(self, span: Span) -> bool:
        """Tell whether what follows is to be asked for here; who asked resumes what broke off."""
        if self._has_met():
            self._meets_at = None
            return True
        return span.end is not None and self._at >= min(span.end, self._end(self.size))

    # Where a request without an end reaches what somebody else fetches.

    def _meets(self) -> bool:
        # A block of reading may go beyond what was seen: that ends the request, or it would go beyond all that follows.
        is_due = self._at - self._looked_at >= LOOK_EVERY or self._reuse.clock() - self._looked >= LOOK_SECONDS
        if is_due and not self._has_met():
            self._look_ahead()
        return self._has_met()

    def _has_met(self) -> bool:
        return self._meets_at is not None and self._at >= self._meets_at

    def _look_ahead(self) -> None:
        self._looked_at, self._looked = self._at, self._reuse.clock()
        file = self._file or self._reuse.find()
        if file is None or file.size != self.size or not self._reuse.is_ours(file):
            return
        self._file = file
        ahead = min(file.size, self._at + LOOK_AHEAD)
        try:
            free = file.free_until(self._at, ahead) if self._at < ahead else ahead
        except OSError as error:
            self._reuse.give_up(error)
            return
        self._meets_at = free if free < ahead else None

    # What is asked for next.

    def _next_span(self, file: PieceFile, end: int) -> Span | None:
        """Return the answer to a request for what is missing here; None where somebody else has just brought it."""
        ahead, self._ahead = self._ahead, None
        span = ahead.take() if ahead else None
        if span:
            return span
        self._reuse.yield_to_readers()
        again, self._again = self._again, True
        try:
            claim = self._claim(file, end)
            return self._open(file, self._at, claim, again=again) if claim else None
        except OSError as error:
            self._reuse.give_up(error)
        self._file = None
        span = self._ask_for_rest(again=again)
        if self._at == self.start:
            self.size = span.body.size
        return span

    def _ask_for_rest(self, *, again: bool) -> Span:
        """Ask for all that is missing, and claim none of it."""
        return Span(self._reuse.source.open(self._at, again, self.stop), self._at, self.stop, None)

    def _claim(self, file: PieceFile, end: int) -> PieceClaim | None:
        """Claim what is missing; None where it has come while somebody else fetched it."""
        until = time.monotonic() + STALL_TIMEOUT_SECONDS
        while file.here_until(self._at, self._at + 1) == self._at:
            claim = file.claim(self._at, self._span_stop(self._at, end))
            if claim or not file.has_name():
                return claim
            if time.monotonic() > until:
                raise UpstreamTimeout(
                    f"a range of {self._reuse.digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s"
                )
            time.sleep(_POLL_SECONDS)
        return None

    def _span_stop(self, at: int, end: int) -> int:
        """Return where a request from ``at`` on is to end: at ``end``, if that is not far behind."""
        speed = self._arrived / max(time.monotonic() - self._began, 1e-3)
        size = span_size(speed, overlaps=self._reuse.source.requests > 1)
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
                is_open = stop == file.size and not self._is_part
                body = self._reuse.source.open(at, again, None if is_open else stop)
                if not self._reuse.answered(file, body.size):
                    raise _OtherSize(f"upstream has {body.size} bytes of {self._reuse.digest}, not {file.size}")
                return Span(body, at, None if is_open else stop, claim)
        except BaseException:
            if body:
                body.close()
            claim.close()
            raise
        claim.close()
        return None

    def _ask_ahead(self, span: Span, end: int) -> None:
        """Ask for the next span when half of this one is here: its answer's round trip then costs no time."""
        file, whole_end = self._file, self._end(self.size)
        if self._ahead or self._is_part or file is None or self._reuse.source.requests == 1 or end >= whole_end:
            return
        if 2 * (self._at - span.start) < end - span.start:
            return

        def ask() -> Span | None:
            self._reuse.yield_to_readers()
            claim = file.claim(end, self._span_stop(end, whole_end))
            return self._open(file, end, claim, again=True) if claim else None

        self._ahead = SpanAhead(f"next span of {self._reuse.digest}", ask)

    def close(self) -> None:
        """End the request, and free what was claimed: whoever read the bytes has put them where they belong."""
        ahead, self._ahead = self._ahead, None
        if ahead:
            ahead.close()
        spans, self._read_spans = self._read_spans, []
        if self._span:
            spans.append(self._span)
            self._span = None
        for span in spans:
            span.close()
