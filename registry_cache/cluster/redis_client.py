"""The one Redis or Valkey that the nodes share, with a bound to every wait for it. Alone imports redis."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.redis_address import Command, RedisAddress
from registry_cache.cluster.redis_refusals import remedy
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log

# Until Redis must have connected, and until it must have answered. A pull waits for it; half as long is not enough for
# a worker that is busy itself.
ANSWER_SECONDS = 1.0
# After a failure it is not asked for so long: each pull would wait for it again.
AWAY_SECONDS = 1.0
# Connections of one worker. More requests at once wait for one.
MAX_CONNECTIONS = 32

# Every command that nodes send, on a key of its own. One that may be read and not written, or that lets an account run
# no scripts, would otherwise be back with each command that it takes, and away with the next.
_TRIED_IN_SCRIPT = (
    "redis.call('TIME') redis.call('SET', KEYS[1], '1', 'PX', 1000) redis.call('GET', KEYS[1]) "
    "redis.call('GETRANGE', KEYS[1], 0, 1) redis.call('EXPIRE', KEYS[1], 1) redis.call('DEL', KEYS[1]) "
    "redis.call('ZADD', KEYS[1], 1, '1') redis.call('ZREVRANGE', KEYS[1], 0, 0) redis.call('DEL', KEYS[1]) "
    "redis.call('SRANDMEMBER', KEYS[1], 1) return 1"
)

_log = Log(__name__)


class RedisClient:
    """Commands to Redis, several in one round trip. Connects when it is first asked."""

    def __init__(self, address: RedisAddress) -> None:
        self._name = f"{address.host}:{address.port}"
        self._username = address.username
        self._away_until = 0.0
        # None until it was asked.
        self._is_up: bool | None = None
        # Why it is away; "" where it is not.
        self._trouble = self._remedy = ""
        self._mutex = threading.Lock()
        self._redis = redis.Redis(connection_pool=_pool(address))

    def ask(self, *commands: Command) -> list[Any]:
        """Return what each command is answered, bytes, numbers and None. Raises RedisAway.

        Within a second; it may take two where Redis was away the last time.
        """
        if time.monotonic() < self._away_until:
            raise RedisAway(f"Redis at {self._name} is away{self._trouble}", self._remedy)
        began = time.monotonic()
        try:
            if self._is_up is not True:
                self._try_all()
            answers = self._send(commands)
            self._remove_strange(commands, answers)
        except redis.RedisError as error:
            raise self._note_away(error) from error
        metrics.observe_redis(time.monotonic() - began)
        if self._is_up is not True:
            self._note_answered()
        return answers

    def close(self) -> None:
        """Close all connections; the next command opens one."""
        self._redis.connection_pool.disconnect()

    def _try_all(self) -> None:
        """Raise where Redis refuses any of the commands that nodes send."""
        key = f"rc:1:probe:{secrets.token_hex(8)}"
        answers = self._send(
            [
                ("EVAL", _TRIED_IN_SCRIPT, 1, key),
                ("SET", key, "1", "PX", 1000),
                ("GETRANGE", key, 0, 1),
                ("PTTL", key),
                ("UNLINK", key),
                ("SADD", key, "1"),
                ("DEL", key),
                ("SCAN", 0, "MATCH", key),
                ("TIME",),
            ]
        )
        for error in answers:
            if isinstance(error, Exception):
                raise error

    def _send(self, commands: Sequence[Command]) -> list[Any]:
        try:
            return self._send_once(commands)
        except redis.TimeoutError:
            raise
        except redis.ConnectionError:
            # The connection may have been idle while Redis was restarted; a new one tells.
            return self._send_once(commands)

    def _send_once(self, commands: Sequence[Command]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return list(pipeline.execute(raise_on_error=False))

    def _remove_strange(self, commands: Sequence[Command], answers: Sequence[Any]) -> None:
        """Remove what stands under our names with a type that no node gives it, or it would be in the way for ever.

        Raises RedisAway where there was some: only these commands were in vain. Raises what Redis says is wrong else.
        """
        strange = []
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, redis.ResponseError) and "WRONGTYPE" in str(answer):
                strange.append(_key_of(command))
            elif isinstance(answer, Exception):
                raise answer
        if strange:
            self._send_once([("UNLINK", *strange)])
            _log.warning("removed from Redis what no node has written", redis=self._name, key=strange[0])
            raise RedisAway(f"Redis at {self._name} has something else under {strange[0]}")

    def _note_away(self, error: redis.RedisError) -> RedisAway:
        trouble, found = f": {error}", remedy(type(error).__name__, str(error), self._username)
        with self._mutex:
            self._away_until = time.monotonic() + AWAY_SECONDS
            begins = self._is_up is not False or found != self._remedy
            self._is_up, self._trouble, self._remedy = False, trouble, found
        if found:
            # Another server may have its name by now, or its account another password.
            self._redis.connection_pool.disconnect()
        if begins:
            metrics.set_redis_up(is_up=False)
            words = "Redis is away: this node shares no new download"
            _log.warning(words, redis=self._name, error=error, remedy=found or None)
        return RedisAway(f"Redis at {self._name} is away{trouble}", found)

    def _note_answered(self) -> None:
        with self._mutex:
            was_away, self._is_up = self._is_up is False, True
            self._trouble = self._remedy = ""
        metrics.set_redis_up(is_up=True)
        if was_away:
            _log.info("Redis is back", redis=self._name)


def _key_of(command: Command) -> str:
    return str(command[3] if command[0] == "EVAL" else command[1])


def _pool(address: RedisAddress) -> redis.BlockingConnectionPool:
    options: dict[str, Any] = {}
    if address.tls:
        options = {
            "connection_class": redis.SSLConnection,
            "ssl_ca_certs": address.ca,
            "ssl_certfile": address.certificate,
            "ssl_keyfile": address.key,
        }
    return redis.BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS,
        timeout=ANSWER_SECONDS,
        host=address.host,
        port=address.port,
        username=address.username,
        password=address.password,
        db=address.db,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        # Ours: a second try after a time-out would double the wait.
        retry=Retry(NoBackoff(), 0),
        **options,
    )
