"""A bar for bytes on a terminal."""

from __future__ import annotations

import os
import sys
import time

from registry_cache.upkeep.status_text import BAR, printable, size

# Seconds between two drawings.
_PAUSE = 0.1


class Bar:
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
        # What an earlier transfer left is not this one's speed.
        began, before = self._began = self._began or (now, done)
        if self._shown and now >= self._next:
            self._next = now + _PAUSE
            speed = int(max(0, done - before) / max(_PAUSE, now - began))
            self._draw(f"{_bar(done, total)}  {size(done)} of {size(total)}, {size(speed)}/s  {self._what}")

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        """Take it off the screen."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _draw(self, line: str) -> None:
        # A line that wraps would stay, and the next be drawn below it. A terminal may not know how wide it is.
        room = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        print(f"\r\x1b[K{printable(line)[: room if room > 0 else None]}", end="", file=sys.stderr, flush=True)


def _bar(done: int, total: int) -> str:
    share = min(1.0, done / total) if total else 1.0
    filled = int(share * BAR)
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {int(share * 100):3} %"
