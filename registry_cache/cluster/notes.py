"""Small sealed documents that nodes leave for each other in Redis, each under a name and for a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry_cache.cluster.leases import MOST_BYTES, AsksRedis, hashed_key, read
from registry_cache.runtime.seals import Seals


class Notes:
    """The notes of one ``kind``, ``rc:1:<kind>:<hash of name>``; one of more than ``most`` bytes is not read."""

    def __init__(self, redis: AsksRedis, seals: Seals, kind: str, most: int = MOST_BYTES) -> None:
        self._most = most
        self._redis = redis
        self._seals = seals
        self._kind = kind

    def put(self, name: str, document: Mapping[str, object], seconds: float) -> None:
        """Leave ``document`` for so many seconds. Raises RedisAway."""
        key = hashed_key(self._kind, name)
        self._redis.ask(("SET", key, self._seals.seal(key, document), "PX", max(1, int(seconds * 1000))))

    def get(self, name: str) -> dict[str, Any] | None:
        """Return what any node has left last; None for nothing. Raises RedisAway."""
        key = hashed_key(self._kind, name)
        return self._seals.open(key, self._redis.ask(read(key, self._most))[0])

    def get_with_life(self, name: str) -> tuple[dict[str, Any] | None, float]:
        """Return as ``get``, and the seconds until it is forgotten. Raises RedisAway."""
        key = hashed_key(self._kind, name)
        data, left = self._redis.ask(read(key, self._most), ("PTTL", key))
        return self._seals.open(key, data), max(0, int(left)) / 1000

    def forget(self, name: str) -> None:
        """Forget what was left, whoever did it. Raises RedisAway."""
        self._redis.ask(("DEL", hashed_key(self._kind, name)))
