"""Look at those who wait, again and again, for as long as somebody does."""

from __future__ import annotations

from collections.abc import Callable, Collection

import gevent


class PeriodicLook:
    """Calls ``look`` after each ``pause``, as long as there is somebody among ``waiting``."""

    def __init__(self, waiting: Collection[object], pause: Callable[[], None], look: Callable[[], None]) -> None:
        self._waiting = waiting
        self._pause = pause
        self._look = look
        self._running = False

    def begin(self) -> None:
        """Somebody is about to wait."""
        if not self._running:
            self._running = True
            gevent.spawn(self._run)

    def _run(self) -> None:
        while self._waiting:
            self._pause()
            self._look()
        self._running = False
