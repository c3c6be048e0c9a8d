"""Which node holds the bucket to its size now: cron lines of several nodes must not all walk through all of it.

    rc:1:bucket-turn    sealed: the node and a number of its own; LIFE_SECONDS, renewed while it works

Where Redis is away nobody is kept from it: two at once delete the same objects, which does no harm.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import PREFIX, REMOVE, TAKE, AsksRedis, read, script
from registry_cache.runtime.log import Log
from registry_cache.runtime.seals import Seals

# After a node that died the next one has to wait for so long; renewals may be late by two of three.
LIFE_SECONDS, RENEW_SECONDS = 60.0, 20.0
# After it is done the others leave the bucket alone: their cron lines are of the same minute, and clocks differ.
REST_SECONDS = 600.0

_KEY = f"{PREFIX}bucket-turn"

_log = Log(__name__)


class BucketTurn:
    """The turn of ``node``; one for each cleanup."""

    def __init__(self, redis: AsksRedis, seals: Seals, node: str) -> None:
        self._redis = redis
        self._seals = seals
        self._node = node
        self._value = seals.seal(_KEY, {"node": node, "id": secrets.token_hex(16)})

    def take(self) -> str:
        """Take the turn; return "" where it is ours now, or the name of the node whose it is. Raises RedisAway."""
        for _ in range(2):
            raw = self._redis.ask(read(_KEY))[0] or b""
            holder = (self._seals.open(_KEY, raw) or {}).get("node")
            # Who types it on the same node again means it.
            if holder is not None and holder != self._node:
                return str(holder)
            if self._replace(raw, LIFE_SECONDS):
                return ""
        return "another node"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the turn within the block, and the others away for a while after it; at an error give it back."""
        is_over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(is_over,), name="bucket-turn", daemon=True)
        keeper.start()
        is_done = False
        try:
            yield
            is_done = True
        finally:
            is_over.set()
            keeper.join()
            self._end(is_done=is_done)

    def _keep(self, is_over: threading.Event) -> None:
        while not is_over.wait(RENEW_SECONDS):
            with contextlib.suppress(RedisAway):
                self._replace(self._value, LIFE_SECONDS)

    def _end(self, *, is_done: bool) -> None:
        try:
            if is_done:
                self._replace(self._value, REST_SECONDS)
            else:
                self._redis.ask(script(REMOVE, _KEY, self._value))
        except RedisAway as away:
            _log.debug("could not say that the bucket is held to its size", error=away)

    def _replace(self, raw: bytes, seconds: float) -> bool:
        """Put our value in the place of ``raw``; False where something else is there by now."""
        return bool(self._redis.ask(script(TAKE, _KEY, raw, self._value, int(seconds * 1000)))[0])
