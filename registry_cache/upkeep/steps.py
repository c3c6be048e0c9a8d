"""The steps of a long pass over the store: each reports progress and may find that the time is over."""

from __future__ import annotations

from collections.abc import Callable

# Called with what is being done, how much is done, and of how much: None where that is not known.
PassProgress = Callable[[str, int, int | None], None]


class OutOfTime(Exception):
    """The pass has used up its time."""


class Steps:
    """``in_time`` is asked at each step whether there is time left; ``progress`` is told about each."""

    def __init__(self, in_time: Callable[[], bool], progress: PassProgress | None) -> None:
        self._in_time = in_time
        self._progress = progress
        self._doing, self._count = "", 0

    def begin(self, doing: str) -> None:
        self._doing, self._count = doing, 0

    def tick(self) -> None:
        """Take one more step of what was begun. Raises OutOfTime."""
        self._count += 1
        self.report(self._doing, self._count, None)

    def report(self, doing: str, done: int, total: int | None) -> None:
        """Report a step in figures of its own. Raises OutOfTime."""
        if self._progress:
            self._progress(doing, done, total)
        if not self._in_time():
            raise OutOfTime
