"""Read a client's head as a whole, at a cost that grows with its length and not with the number of its pieces.

gunicorn looks through all that has come whenever another piece comes: a head of half a megabyte that arrives byte by
byte costs it minutes. Here each byte is looked at once, and the parser gets the head when it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

# All of a head. A client sends some hundred bytes, and perhaps a token of some kilobytes; three thousand connections
# that are sent such heads without an end take 50 MB.
MAX_HEAD_SIZE = 16 * 1024

# A name (255), a digest (135), `ns` and `last`, with room; what is longer is no pull.
LONGEST_LINE = 4094

# A header's line, its end included.
LONGEST_HEADER = 8190

_END = b"\r\n\r\n"
_RANGE = re.compile(rb"\r\nrange[ \t]*:[^\r\n]*", re.IGNORECASE)


class BadHead(Exception):
    """A head that no more bytes can make one that is taken."""


class LineTooLong(BadHead):
    """A request line of more than LONGEST_LINE bytes; ``size`` have come."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class HeadTooLarge(BadHead):
    """A head of more than MAX_HEAD_SIZE bytes."""


class RangeTooLong(BadHead):
    """A Range of more than LONGEST_HEADER bytes, which is a 400 (P82)."""


class LoneFeed(BadHead):
    """A line that ends by LF alone (RFC 9112 §2.2): the head may never end as it is read here."""


class RequestHead:
    """The bytes of one head so far, and perhaps some behind it."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._has_line = False

    def add(self, data: bytes) -> bool:
        """Take the next piece, which is not empty; True once the head is whole. Raises BadHead."""
        new = len(self._data)
        self._data += data
        # The end may have begun in the piece before.
        end = self._data.find(_END, max(0, new - len(_END) + 1))
        if end > LONGEST_HEADER or (end < 0 and len(self._data) > MAX_HEAD_SIZE):
            self._refuse_long_range(end if end > 0 else len(self._data))
        if end >= 0:
            return True
        self._look_at_lines(new)
        if not self._has_line and len(self._data) > LONGEST_LINE + len(_END):
            raise LineTooLong(len(self._data))
        if len(self._data) > MAX_HEAD_SIZE:
            raise HeadTooLarge(f"a request's head has more than {MAX_HEAD_SIZE} bytes")
        return False

    def data(self) -> bytes:
        """Return all that has come."""
        return bytes(self._data)

    def _refuse_long_range(self, end: int) -> None:
        found = _RANGE.search(self._data, 0, end)
        if found and len(found[0]) > LONGEST_HEADER:
            raise RangeTooLong(f"a Range of more than {LONGEST_HEADER} bytes: ask for fewer parts")

    def _look_at_lines(self, start: int) -> None:
        at = self._data.find(b"\n", start)
        while at >= 0:
            if self._data[at - 1 : at] != b"\r":
                raise LoneFeed("a line ends by LF alone")
            # One empty line may come first.
            self._has_line = self._has_line or at > 1
            at = self._data.find(b"\n", at + 1)


def read_head(
    held: bytes,
    receive: Callable[[], bytes],
    begin: Callable[[], AbstractContextManager[None]],
    rest: Callable[[], AbstractContextManager[None]],
) -> bytes:
    """Return a head, and perhaps more: ``held`` came before, ``receive`` waits for the next piece, b"" at the end.

    ``begin`` and ``rest`` are entered while the first piece and the others are waited for. What ends before the head
    does is returned as it is. Raises BadHead, and what ``receive`` does.
    """
    piece = held
    if not piece:
        with begin():
            piece = receive()
    if not piece or 0 <= piece.find(_END) <= LONGEST_HEADER:
        # Nearly every head comes in one piece.
        return piece
    head = RequestHead()
    if head.add(piece):
        return head.data()
    with rest():
        while (piece := receive()) and not head.add(piece):
            pass
    return head.data()
