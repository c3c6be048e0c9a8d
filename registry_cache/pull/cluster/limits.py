"""Refusals by an upstream's rate limit, as all nodes that it counts together know them.

They are counted by account, and by the address that upstream reports. Two nodes behind different addresses are counted
apart, and so they are here: what one may not pull, the other may.
"""

from __future__ import annotations

import time
from dataclasses import asdict, fields

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.notes import Notes
from registry_cache.upstream.rate_limits import Limits

# How often a process looks for refusals that other nodes have met.
_LOOK_SECONDS = 1.0
# A refusal counts for more than an answer this soon after it to a free question, which says little of counted ones.
_REFUSAL_SECONDS = 5.0
# A limit whose window upstream does not tell is forgotten after this.
_LONGEST_SECONDS = 6 * 3600.0

_FIELDS = {field.name for field in fields(Limits)}


class NearLimits:
    """The limits of one upstream and account, which ``owner`` stands for."""

    def __init__(self, notes: Notes, upstream: str, owner: str) -> None:
        self._notes = notes
        self._upstream = upstream
        self._owner = owner
        self._looked_at = float("-inf")

    def publish(self, limits: Limits, *, anonymous: bool) -> None:
        """Tell other nodes that they are refused; not where upstream has never said for whom it counts.

        Anything but a refusal would replace another node's. Each finds out by itself that a limit was lifted.
        """
        if limits.source is None or not _is_refused(limits):
            return
        try:
            self._notes.put(self._name(limits, anonymous), asdict(limits), limits.window or _LONGEST_SECONDS)
        except RedisAway:
            return

    def newer(self, known: Limits, *, anonymous: bool) -> Limits | None:
        """Return what another node was told after ``known``, or shortly before; None for nothing new.

        Redis is looked at once a second at most.
        """
        if known.source is None or time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return None
        self._looked_at = time.monotonic()
        try:
            found = self._notes.get(self._name(known, anonymous))
            limits = Limits(**{name: value for name, value in (found or {}).items() if name in _FIELDS})
        except (RedisAway, TypeError):
            return None
        if limits == known:
            return None
        return limits if _is_refused(limits) and limits.seen_at > known.seen_at - _REFUSAL_SECONDS else None

    def _name(self, limits: Limits, anonymous: bool) -> str:
        return "\0".join((self._upstream, self._owner, str(anonymous), limits.source or ""))


def _is_refused(limits: Limits) -> bool:
    return limits.blocked_until(counted=True) > time.time()
