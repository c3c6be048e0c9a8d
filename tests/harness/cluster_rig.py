"""Several nodes on this machine, which share their downloads over a real Redis."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.harness.ports import free_ports
from tests.harness.pullers import Puller
from tests.harness.redis_server import RedisServer
from tests.harness.server import CacheServer, merge
from tests.harness.shared_cache import empty
from tests.harness.waiting import eventually

SECRET = "the nodes know it"
_FORGET = (
    "for _, key in ipairs(redis.call('KEYS', 'rc:1:*')) do "
    "if key ~= 'rc:1:epoch' and key:sub(1, 9) ~= 'rc:1:node' then redis.call('DEL', key) end end return 1"
)


class Node(CacheServer):
    """One cache of a cluster. `name` is what others call it."""

    def __init__(self, name: str, folder: Path, upstream_url: str, redis: RedisServer, **options: Any) -> None:
        self.name = name
        [self.peers_port] = free_ports(1)
        self.is_spoiled = False
        config: dict[str, Any] = {
            "redis": {"addr": redis.address},
            "http": {"secret": SECRET},
            "cluster": {"addr": f"127.0.0.1:{self.peers_port}", "node": name},
        }
        config = merge(config, options.pop("config", {}))
        super().__init__(folder, upstream_url, config=config, **options)

    def lose_power(self) -> None:
        """SIGKILL all processes at once, with the port for clients and that for peers."""
        self.is_spoiled = True
        self.kill_all()

    def stand_still(self) -> None:
        """SIGSTOP all its processes: ports accept, and nothing answers."""
        self.is_spoiled = True
        os.killpg(self._arbiter.pid, signal.SIGSTOP)

    def wake(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._arbiter.pid, signal.SIGCONT)


class Cluster:
    """Nodes over one Redis, in front of one upstream. Stop it."""

    def __init__(self, folder: Path, upstream_url: str, nodes: int = 3, **options: Any) -> None:
        self.redis = RedisServer(folder / "redis")
        self.nodes = [
            Node(f"node{number}", folder / f"node{number}", upstream_url, self.redis, **options)
            for number in range(1, nodes + 1)
        ]
        self.pullers = [Puller(node.url) for node in self.nodes]
        # A test that starts a further node says so.
        self.has_strangers = False

    def wait_until_ready(self) -> None:
        """Return when each node has told Redis that it is there."""
        for node in self.nodes:
            node.workers()
        eventually(lambda: self.redis.ask("SCARD", "rc:1:nodes") == f":{len(self.nodes)}\r\n".encode())

    def leader_of(self, digest: str) -> Node | None:
        """The node whose lease Redis has."""
        answer = self.redis.ask("GET", f"rc:1:lead:{digest}").decode(errors="replace")
        return next((node for node in self.nodes if f'"node":"{node.name}"' in answer), None)

    @property
    def is_spoiled(self) -> bool:
        """Whether something was stopped, or others were let in."""
        return self.has_strangers or self.redis.is_spoiled or any(node.is_spoiled for node in self.nodes)

    def processes(self) -> list[list[int]]:
        """The ids of each node's processes, as they are now."""
        return [node.processes() for node in self.nodes]

    def empty(self) -> None:
        """Once nothing is transferred, empty the stores, and Redis but for who is there."""
        for node in self.nodes:
            empty(node)
        self.redis.ask("EVAL", _FORGET, "0")

    def stop(self) -> None:
        for puller in self.pullers:
            puller.close()
        try:
            for node in self.nodes:
                node.wake()
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(Node.stop, self.nodes))
        finally:
            for node in self.nodes:
                node.close()
            self.redis.stop()
