"""How many large documents of an upstream a worker holds at once, from their first bytes until they are kept.

A manifest may have 4 MiB, and some times that while it is parsed. Who may publish at an upstream could have a worker
fetch hundreds of them at once. Small ones, which nearly all are, wait for nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from registry_cache.errors import TooManyRequests

# Bytes up to which a document is small; the largest images of today have a tenth of it.
SMALL_SIZE = 128 * 1024
# As many as keep a line busy, and 16 MiB.
MAX_LARGE = 4
# As long as an answer may take.
WAIT_SECONDS = 8.0


class LargeTurn:
    """One question's place among the large ones, which it takes when its answer turns out to be large."""

    def __init__(self, places: threading.BoundedSemaphore, wait_seconds: float) -> None:
        self._places = places
        self._wait_seconds = wait_seconds
        self._is_taken = False

    def take(self) -> None:
        """Return when there is a place; at once after the first time. Raises TooManyRequests."""
        if self._is_taken:
            return
        if not self._places.acquire(timeout=self._wait_seconds):
            raise TooManyRequests("too many large manifests are fetched at once; try again", retry_after=1)
        self._is_taken = True

    def end(self) -> None:
        """Give the place back, if it was taken."""
        if self._is_taken:
            self._is_taken = False
            self._places.release()


class LargeDocuments:
    """The places of one upstream in one process. Safe to share between threads."""

    def __init__(self, places: int = MAX_LARGE, wait_seconds: float = WAIT_SECONDS) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._wait_seconds = wait_seconds

    @contextmanager
    def turn(self) -> Iterator[LargeTurn]:
        """Yield what a question inside takes a place with."""
        turn = LargeTurn(self._places, self._wait_seconds)
        try:
            yield turn
        finally:
            turn.end()
