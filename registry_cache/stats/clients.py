"""When each client was last seen, and on which recent days: to find those that have stopped coming."""

from __future__ import annotations

from dataclasses import dataclass

from registry_cache.stats.calendar import DAY_SECONDS, day_of

# Days of which is known who came.
DAYS = 32
# A client counts as one that comes regularly after so many days.
_REGULAR_DAYS = 5
# More addresses than that are a network that changes them; those seen longest ago are forgotten first.
MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class GoneClient:
    """A client that came regularly and has been silent for longer than ever before.

    ``days``: how many of the last days it came. ``last_seen`` in seconds since the epoch.
    """

    client: str
    days: int
    last_seen: float


class Clients:
    """All clients that are known: of each when it was seen last, and a bit a day, the newest day's lowest."""

    def __init__(self, day: int = 0) -> None:
        self._day = day
        self._seen: dict[str, tuple[int, int]] = {}

    def see(self, client: str, moment: float) -> None:
        """``client`` was here at ``moment``, in seconds since the epoch."""
        self._turn(day_of(moment))
        last, days = self._seen.get(client, (0, 0))
        age = self._day - day_of(moment)
        if age < DAYS:
            self._seen[client] = max(last, int(moment)), days | 1 << age

    def turn_back(self, today: int) -> None:
        """Begin anew where the newest day is far after ``today``: a clock was ahead.

        Who comes now would count as older than all that is remembered until then, and so not at all.
        """
        if self._day - today >= DAYS:
            self._day, self._seen = today, {}

    def forget(self) -> None:
        """Keep no more than ``MOST_CLIENTS``."""
        if len(self._seen) > MOST_CLIENTS:
            kept = sorted(self._seen.items(), key=lambda each: each[1][0], reverse=True)[:MOST_CLIENTS]
            self._seen = dict(kept)

    def count(self, since: float) -> int:
        """Return how many clients came at ``since`` or later, of those that came within ``DAYS``."""
        return sum(1 for last, _ in self._seen.values() if last >= int(since))

    def gone(self, now: float) -> list[GoneClient]:
        """Return who has stopped coming, the most recent first."""
        found = [
            GoneClient(client, bits.bit_count(), float(last))
            for client, (last, bits) in self._seen.items()
            if self._is_gone(last, bits, now)
        ]
        return sorted(found, key=lambda each: (-each.last_seen, each.client))

    def document(self) -> dict[str, object]:
        """Return the JSON values."""
        return {"day": self._day, "clients": {client: list(each) for client, each in self._seen.items()}}

    @classmethod
    def of(cls, document: object) -> Clients:
        """Return the clients of a ``document``. Raises ValueError."""
        if not isinstance(document, dict) or not isinstance(document.get("clients"), dict):
            raise ValueError("clients are not a JSON object")
        found = cls(int(document.get("day", 0)))
        found._seen = {str(client): (int(last), int(bits)) for client, (last, bits) in document["clients"].items()}
        return found

    def _turn(self, day: int) -> None:
        """Let ``day`` be the newest, if it is newer."""
        passed = day - self._day
        if passed > 0:
            shifted = {client: (last, bits << passed & (1 << DAYS) - 1) for client, (last, bits) in self._seen.items()}
            self._seen = {client: each for client, each in shifted.items() if each[1]}
            self._day = day

    def _is_gone(self, last: int, bits: int, now: float) -> bool:
        # A machine that works from Monday to Friday was silent for two days before: it is not missed on a Sunday.
        silent = day_of(now) - day_of(last) - 1
        return bits.bit_count() >= _REGULAR_DAYS and now - last > DAY_SECONDS and silent > _longest_gap(bits)


def _longest_gap(bits: int) -> int:
    """Return the most days in a row without a visit, between the first visit and the last."""
    return max((len(gap) for gap in bin(bits)[2:].rstrip("0").split("1")), default=0)
