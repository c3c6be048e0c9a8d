"""Questions that a node asks an upstream just now, in Redis, and what came of them.

    rc:1:flight:<hash of the question>    sealed: node, id, at     FLIGHT_SECONDS, renewed while it is under way
    rc:1:note:<id>                        sealed: the outcome, at  NOTE_SECONDS

Who finds an id waits for its note: that question was under way when theirs came, so clocks say nothing of that. They
tell what a stranger has put back: old answers under an old id.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from registry_cache.cluster.leases import MOST_BYTES, PREFIX, REMOVE, AsksRedis, hashed_key, is_recent, read, script
from registry_cache.runtime.seals import Seals

FLIGHT_SECONDS = 5
NOTE_SECONDS = 10
# Longer than any question to upstream takes.
LONGEST_SECONDS = 20.0
# A longer answer, such as a list of thousands, is not left: Redis has a few megabytes, and others then ask themselves.
MAX_NOTE_SIZE = 256 * 1024

# Take it, or return who has it.
_JOIN = (
    f"local now = redis.call('GETRANGE', KEYS[1], 0, {MOST_BYTES - 1}) if now ~= '' then return now end "
    "redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) return ARGV[1]"
)
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('EXPIRE', KEYS[1], ARGV[2]) end return 0"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question under way: ``key`` and ``value`` in Redis, by the ``id`` of this time; ``is_ours``: we ask it."""

    key: str
    value: bytes
    id: str
    is_ours: bool


class Questions:
    """The questions of all nodes, as ``node`` sees them; ``clock``: the one on which all nodes agree."""

    def __init__(self, redis: AsksRedis, seals: Seals, node: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._redis = redis
        self._seals = seals
        self._node = node

    def join(self, question: str) -> Asked | None:
        """Begin to ask, or find who does; None where something stands there that no node wrote, or that is over.

        Raises RedisAway.
        """
        key = hashed_key("flight", question)
        ours = self._seals.seal(key, {"id": secrets.token_hex(16), "node": self._node, "at": self._clock()})
        [value] = self._redis.ask(script(_JOIN, key, ours, FLIGHT_SECONDS))
        found = self._seals.open(key, value)
        if not found or not is_recent(found, self._clock(), LONGEST_SECONDS):
            return None
        return Asked(key, value, str(found.get("id")), value == ours)

    def renew(self, asked: Asked) -> None:
        """Say that the question is still under way. Raises RedisAway."""
        self._redis.ask(script(_RENEW, asked.key, asked.value, FLIGHT_SECONDS))

    def end(self, asked: Asked, outcome: Mapping[str, object]) -> None:
        """Leave the outcome for those who wait, and end the question. Raises RedisAway."""
        note = _note(asked)
        at = {"at": self._clock()}
        sealed = self._seals.seal(note, {**outcome, **at})
        if len(sealed) > MAX_NOTE_SIZE:
            sealed = self._seals.seal(note, at)
        self._redis.ask(
            ("SET", note, sealed, "EX", NOTE_SECONDS),
            script(REMOVE, asked.key, asked.value),
        )

    def look(self, asked: Asked) -> tuple[dict[str, Any] | None, bool]:
        """Return the outcome, None for none yet, and whether it may still come. Raises RedisAway."""
        # In this order: who ends a question leaves the note first.
        value, note = self._redis.ask(read(asked.key), read(_note(asked), MAX_NOTE_SIZE))
        found = self._seals.open(_note(asked), note)
        is_old = found is not None and not is_recent(found, self._clock(), NOTE_SECONDS)
        return None if is_old else found, value == asked.value and not is_old


def _note(asked: Asked) -> str:
    return f"{PREFIX}note:{asked.id}"
