"""Progress on a terminal: a bar for bytes, or a line for steps whose number is not known."""

from __future__ import annotations

import os
import sys
import time
from typing import Self

from registry_cache.upkeep.report import bar, printable, size

# Seconds between two drawings.
_PAUSE_SECONDS = 0.1
_CLEAR = "\r\x1b[K"


class ProgressBar:
    """One line: how much of how much, how fast, and ``what``. Use ``with``.

    Draws nothing unless ``shown`` and on a terminal.
    """

    def __init__(self, what: str, *, shown: bool = True) -> None:
        self._what = what
        self._shown = shown and sys.stderr.isatty()
        self._next = 0.0
        self._began: tuple[float, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        """Draw ``done`` of ``total`` bytes, unless it has just been drawn."""
        now = time.monotonic()
        # What an earlier transfer left does not count for this one's speed.
        began, before = self._began = self._began or (now, done)
        if self._shown and now >= self._next:
            self._next = now + _PAUSE_SECONDS
            speed = int(max(0, done - before) / max(_PAUSE_SECONDS, now - began))
            percent = int(min(1.0, done / total if total else 1.0) * 100)
            self._draw(f"{bar(percent)}  {size(done)} of {size(total)}, {size(speed)}/s  {self._what}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take it off the screen."""
        if self._shown:
            print(_CLEAR, end="", file=sys.stderr, flush=True)

    def _draw(self, line: str) -> None:
        # A line that wraps would stay, and the next be drawn below it. A terminal may not know how wide it is.
        room = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"{_CLEAR}{printable(line)[: room if room > 0 else None]}", end="", file=sys.stderr, flush=True)


class PassDisplay(ProgressBar):
    """What a pass over the store is doing: a bar where it is known how much there is to read. Use ``with``.

    Draws nothing unless ``shown`` and on a terminal; ``progress`` is then None, so that nothing is counted for it.
    """

    def __init__(self, *, shown: bool) -> None:
        super().__init__("re-hashing", shown=shown)
        self.progress = self._draw_step if self._shown else None

    def _draw_step(self, doing: str, done: int, total: int | None) -> None:
        if total:
            self(done, total)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _PAUSE_SECONDS
            print(f"{_CLEAR}{doing}: {done}", end="", file=sys.stderr, flush=True)
