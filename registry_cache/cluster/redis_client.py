"""The one Redis or Valkey that the nodes share, with a bound to every wait for it. Alone imports redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.redis_address import Command, RedisAddress
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log

# Until Redis must have connected, and until it must have answered. A pull waits for it; half as long is not enough for
# a worker that is busy itself.
ANSWER_SECONDS = 1.0
# After a failure it is not asked for so long: each pull would wait for it again.
AWAY_SECONDS = 1.0
# Connections of one worker. More requests at once wait for one.
MAX_CONNECTIONS = 32

_log = Log(__name__)


class RedisClient:
    """Commands to Redis, several in one round trip. Connects when it is first asked."""

    def __init__(self, address: RedisAddress) -> None:
        self._name = f"{address.host}:{address.port}"
        self._away_until = 0.0
        # None until it was asked.
        self._is_up: bool | None = None
        self._mutex = threading.Lock()
        self._redis = redis.Redis(connection_pool=_pool(address))

    def ask(self, *commands: Command) -> list[Any]:
        """Return what each command is answered, bytes, numbers and None. Raises RedisAway, within a second."""
        if time.monotonic() < self._away_until:
            raise RedisAway(f"Redis at {self._name} is away")
        began = time.monotonic()
        try:
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

    def _note_away(self, error: Exception) -> RedisAway:
        with self._mutex:
            self._away_until = time.monotonic() + AWAY_SECONDS
            begins, self._is_up = self._is_up is not False, False
        if begins:
            metrics.set_redis_up(is_up=False)
            _log.warning("Redis is away: this node shares no new download", redis=self._name, error=error)
        return RedisAway(f"Redis at {self._name} is away: {error}")

    def _note_answered(self) -> None:
        with self._mutex:
            was_away, self._is_up = self._is_up is False, True
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
