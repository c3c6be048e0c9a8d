"""End reads that wait for bytes which nobody wants any more, from another thread than theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Reads:
    """The reads for one purpose. Once they ``end``, so does each that begins later."""

    def __init__(self) -> None:
        self._are_over = False
        self._ends: list[Callable[[], None]] = []

    def end(self) -> None:
        self._are_over = True
        for end in list(self._ends):
            end()

    def add(self, end: Callable[[], None]) -> None:
        self._ends.append(end)
        if self._are_over:
            end()

    def remove(self, end: Callable[[], None]) -> None:
        self._ends.remove(end)


# To which reads those of this thread, and of those that it starts for its work, belong; None where only their own
# time-outs end them.
CURRENT: ContextVar[Reads | None] = ContextVar("reads", default=None)


@contextmanager
def ended_by(end: Callable[[], None]) -> Iterator[None]:
    """Have ``end`` called, from any thread, if what is read inside is wanted no more."""
    reads = CURRENT.get()
    if reads is None:
        yield
        return
    reads.add(end)
    try:
        yield
    finally:
        reads.remove(end)
