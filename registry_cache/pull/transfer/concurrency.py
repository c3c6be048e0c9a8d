"""How many requests at once a blob is worth: more, as long as more make it faster. Pure."""

from __future__ import annotations

# Bytes that tell how fast one request is: enough to be past the slow start of its connection.
FIRST_SAMPLE_SIZE = 2 * 1024 * 1024
# Bytes a second at which nothing limits the connection: such a blob has arrived before a second request would help.
FAST_ENOUGH = 64 * 1024 * 1024
# Seconds for which a number of requests is measured: some round trips, so that new connections are up to speed.
WINDOW_SECONDS = 0.5
# A step that gains less is taken back: it is noise, or takes from other transfers what it gives to this one.
MIN_GAIN = 1.2


class RequestPace:
    """``width`` is how many requests at once are worth it now, ``most`` at most. Times in seconds of any clock."""

    def __init__(self, most: int, now: float) -> None:
        self.width = 1
        self._most = most
        self._before = 1
        self._speed = 0.0
        self._settled = most == 1
        self._began: float | None = now
        self._bytes = 0

    def measure(self, now: float) -> None:
        """Start to measure: the newest request has its first byte."""
        if self._began is None:
            self._began, self._bytes = now, 0

    def arrived(self, size: int, now: float) -> None:
        """Count ``size`` bytes of any request; where they are enough, decide."""
        self._bytes += size
        if self._settled or self._began is None:
            return
        spent = now - self._began
        if self._bytes < FIRST_SAMPLE_SIZE if self.width == 1 else spent < WINDOW_SECONDS:
            return
        speed = self._bytes / max(spent, 1e-6)
        if self.width == 1:
            worth, self._settled = speed < FAST_ENOUGH, speed >= FAST_ENOUGH
        else:
            worth = speed >= MIN_GAIN * self._speed
            self._settled = not worth or self.width == self._most
        if not worth:
            self.width = self._before
        elif not self._settled:
            self._before, self._speed, self._began = self.width, speed, None
            self.width = min(2 * self.width, self._most)
