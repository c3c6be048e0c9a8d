"""A line that carries so many bytes a second: arithmetic on a clock that the caller gives. Sends nothing itself."""

from dataclasses import dataclass, field

# Steps are as long as two milliseconds of the line: what a timer can keep to, and short beside any round trip.
_STEP_SECONDS = 0.002
_LEAST_STEP, _LARGEST_STEP = 4 * 1024, 256 * 1024
# A timer that fires late may be made up for, no further back than this: else an idle line would save up a burst.
_SLACK_SECONDS = 0.02


@dataclass
class Line:
    """``rate`` in bytes a second; 0: as fast as it goes."""

    rate: float
    _free: float = field(default=0.0, repr=False)

    def book(self, size: int, now: float) -> float:
        """Return the moment at which ``size`` further bytes will have gone through; all who book share the line."""
        if not self.rate:
            return now
        self._free = max(self._free, now - _SLACK_SECONDS) + size / self.rate
        return self._free

    @property
    def step(self) -> int:
        """How many bytes to book at a time."""
        return int(min(max(self.rate * _STEP_SECONDS, _LEAST_STEP), _LARGEST_STEP)) if self.rate else _LARGEST_STEP
