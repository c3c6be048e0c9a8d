"""What stands for Redis where there is none: nodes that know each other by ``cluster.peers`` alone."""

from __future__ import annotations

from typing import Any

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.redis_address import Command


class NoRedis:
    """Is always away, so a node does what it does while Redis is."""

    def ask(self, *commands: Command) -> list[Any]:
        raise RedisAway("there is no Redis: nodes know each other by cluster.peers alone")
