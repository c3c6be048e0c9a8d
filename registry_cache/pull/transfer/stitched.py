"""What a download reads: pieces of the blob that are here already, and from upstream what is between them.

Where somebody reads ranges, a download claims what it asks for, in spans that have an end: what readers fetch ahead of
it is never on its own line, and what is on its line they wait for. Any other download asks for all of it at once, looks
now and then for pieces that were fetched ahead, and ends its request where they begin.
"""

from __future__ import annotations

from collections.abc import Iterator

from registry_cache.policy.range_choice import MAX_RANGE
from registry_cache.pull.source import RangeResponse
from registry_cache.pull.transfer.piece_lookout import PieceLookout
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.span import Span
from registry_cache.pull.transfer.span_requests import OtherSize, SpanRequests
from registry_cache.store.piece_file import PIECE_SIZE, PieceFile

_READ_SIZE = 256 * 1024


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
    except OtherSize:
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
        self._requests = SpanRequests(reuse, self.stop, again=again)
        self._lookout = PieceLookout(reuse, start)
        self._span: Span | None = None
        self._read_spans: list[Span] = []

    # Begin, by one of these.

    def begin(self) -> bool:
        """Ask for what is missing at ``start``, now; False where that is here by now. Raises what requests raise."""
        self._span = self._next_span(self._file, self._end(self._file.size)) if self._file else None
        if self._span and self._span.end is None and self._requests.is_part:
            self.stop = self._span.body.stop
        return self._span is not None

    def take(self, span: Span) -> None:
        """Begin with the answer to a request that was made without a file of pieces."""
        self._span, self.size = span, span.body.size
        if self._requests.is_part:
            self.stop = span.body.stop
        if span.end is None or self._requests.is_part:
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
                self._span = self._requests.rest(self._at)
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
        self._ask_ahead(span)
        for chunk in span.body:
            piece = chunk if end is None else chunk[: end - self._at]
            self._at += len(piece)
            self._requests.arrived(len(piece))
            if piece:
                yield piece
            if end is not None and self._at >= end:
                return
            self._ask_ahead(span)
            if end is None and span.claim is None and self._meets():
                return

    def _ask_ahead(self, span: Span) -> None:
        if self._file:
            self._requests.ask_ahead(self._file, span, self._at, self._end(self.size))

    def _meets(self) -> bool:
        has_met = self._lookout.meets(self._at, self._file, self.size)
        self._file = self._lookout.file or self._file
        return has_met

    def _end_span(self, span: Span) -> None:
        """Close what was read to its end. The claim of a part stays until ``close``."""
        span.body.close()
        if not self._requests.is_part:
            span.free()
            self._read_spans.remove(span)

    def _goes_on(self, span: Span) -> bool:
        """Tell whether what follows is to be asked for here; who asked resumes what broke off."""
        if self._lookout.has_met(self._at):
            self._lookout.forget()
            return True
        return span.end is not None and self._at >= min(span.end, self._end(self.size))

    def _next_span(self, file: PieceFile, end: int) -> Span | None:
        """Return the answer to a request for what is missing here; None where somebody else has just brought it."""
        try:
            return self._requests.next(file, self._at, end)
        except OSError as error:
            self._reuse.give_up(error)
        self._file = None
        span = self._requests.rest(self._at)
        if self._at == self.start:
            self.size = span.body.size
        return span

    def close(self) -> None:
        """End the request, and free what was claimed: whoever read the bytes has put them where they belong."""
        self._requests.close()
        spans, self._read_spans = self._read_spans, []
        if self._span:
            spans.append(self._span)
            self._span = None
        for span in spans:
            span.close()
