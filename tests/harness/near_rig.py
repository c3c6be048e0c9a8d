"""Nodes in this process that share a real Redis, which each of them may lose sight of."""

from typing import Any

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.questions import Questions
from registry_cache.cluster.redis_address import Command, RedisAddress
from registry_cache.cluster.redis_client import RedisClient
from registry_cache.runtime.seals import Seals
from tests.harness.redis_server import RedisServer

SEALS = Seals("the nodes know it")


class SharedRedis:
    """Redis as one node reaches it. `asked`: how often it was; `is_away`: it is, for this node."""

    def __init__(self, server: RedisServer) -> None:
        self._client = RedisClient(RedisAddress(host="127.0.0.1", port=server.port))
        self.asked = 0
        self.is_away = False

    def ask(self, *commands: Command) -> list[Any]:
        self.asked += 1
        if self.is_away:
            raise RedisAway("away, for this node")
        return self._client.ask(*commands)

    def questions(self, node: str) -> Questions:
        return Questions(self, SEALS, node)
