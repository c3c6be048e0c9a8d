"""What each attack costs a worker: the longest turn of its loop, CPU and memory, and honest pulls that failed.

    python -m bench.hostile [--attacks NAME …] [--clients 20]

One worker for each attack. So many clients at once ask for what a hostile registry answers by the attack, or are the
attack themselves, while one asks for `/v2/` without a pause. Turns and CPU are of the time on a core, so a busy
machine changes little; the wait for `/v2/` is by the wall clock. Prints a table in Markdown; bench/results/hostile.md
has one.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.battery import BAD, EVIL, closing_process, serve_hostile, swallow
from bench.hostile_registry import ASKED, ATTACKS
from bench.processes import cpu_seconds
from tests.harness.images import MiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.watchdog import WATCHED, Watchdog

Address = tuple[str, int]
REPOSITORY = "library/app"
# An attack that lasts is left alone after so long.
ATTACK_SECONDS = 8.0
CLIENTS = ("drip", "pipeline", "leave", "stall", "silent", "miss")
KINDS = (
    "manifests/latest",
    "blobs/sha256:{0:064x}",
    "tags/list",
    "referrers/sha256:{0:064x}",
    "manifests/sha256:{0:064x}",
)


@dataclass(frozen=True)
class Row:
    """What one attack cost; turn, wait and CPU in seconds, memory in bytes; ``where`` says where that turn ended.

    ``asked``: requests to the registry that it is about.
    """

    name: str
    turn: float
    where: str
    wait: float
    cpu: float
    memory: int
    grown: int
    asked: int
    failed: int

    def __str__(self) -> str:
        memory = f"{self.memory / MiB:.0f} MiB (+{self.grown / MiB:.0f})"
        times = f"{self.turn * 1000:.0f} ms | {self.wait * 1000:.0f} ms | {self.cpu:.1f} s"
        return f"| {self.name} | {times} | {memory} | {self.asked} | {self.failed} |"


def of_client(address: Address, upstream: FakeUpstream, puller: Puller, clients: int) -> dict[str, Callable[[], None]]:
    """Attacks that need no hostile registry, by name."""
    large = upstream.add_blob(random_bytes(16 * MiB, seed="large"), REPOSITORY)

    def send(data: bytes, *, reads: bool = False) -> None:
        with contextlib.suppress(OSError), socket.create_connection(address, 10, BAD) as client:
            for at in range(0, len(data), 100):
                client.sendall(data[at : at + 100])
            if reads:
                client.recv(1)

    def drip() -> None:
        send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(60)))

    def pipeline() -> None:
        send(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n" * 5000)

    def leave() -> None:
        for number in range(20):
            blob = upstream.add_blob(random_bytes(2 * MiB, seed=f"{number} {threading.get_ident()}"), REPOSITORY)
            send(f"GET /v2/{REPOSITORY}/blobs/{blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def stall() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for _ in range(20):
                client = stack.enter_context(socket.create_connection(address, timeout=10))
                client.sendall(f"GET /v2/{REPOSITORY}/blobs/{large} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(ATTACK_SECONDS / 3)

    def silent() -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(address, 10, BAD))
            time.sleep(ATTACK_SECONDS / 2)

    def miss() -> None:
        for number in range(100):
            swallow(address, f"/v2/{REPOSITORY}/blobs/sha256:{number * 10**9 + threading.get_ident() % 10**9:064x}")

    assert puller.blob(large, REPOSITORY).status == 200
    assert clients
    return {f"client: {each.__name__}": each for each in (drip, pipeline, leave, stall, silent, miss)}


def of_upstream(address: Address, name: str) -> Callable[[], None]:
    """Ask once for everything that a registry has, in a repository of this thread's own."""

    def ask() -> None:
        number = threading.get_ident() % 10**6
        repository = f"{address[0]}/{address[1]}/{number}" if name == "ring" else str(number)
        for kind in KINDS:
            path = f"/v2/{EVIL}/{name}/{repository}/{kind.format(number)}"
            threading.Thread(target=swallow, args=(address, path), daemon=True).start()

    return ask


def measure(name: str, clients: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, contextlib.ExitStack() as stack:
        upstream = FakeUpstream()
        stack.callback(upstream.stop)
        url = stack.enter_context(closing_process(serve_hostile)).get(timeout=60)
        config = {"upstreams": {EVIL: {"remoteurl": url}}}
        cache = CacheServer(Path(folder, "cache"), upstream.url, config=config, workers=1, application=WATCHED)
        stack.callback(cache.close)
        host, port = cache.address.split(":")
        [worker] = cache.workers()
        with Puller(cache.url) as puller:
            attacks = of_client((host, int(port)), upstream, puller, clients)
            attack = attacks.get(name) or of_upstream((host, int(port)), name)
            before, cpu = cache.rss(worker), cpu_seconds([worker])
            with Watchdog(cache) as others, ThreadPoolExecutor(clients) as pool:
                tasks = [pool.submit(attack) for _ in range(clients)]
                most, end = before, time.monotonic() + ATTACK_SECONDS
                while time.monotonic() < end:
                    most = max(most, cache.rss(worker))
                    time.sleep(0.05)
                for task in tasks:
                    task.result()
            asked = len(upstream.exchanges) if name in attacks else _asked(url, name)
            image = upstream.add_blob(random_bytes(1 * MiB, seed="honest"), REPOSITORY)
            failed = sum(puller.blob(image, REPOSITORY).status != 200 for _ in range(3))
        wait, spent = max(others.waits), cpu_seconds([worker]) - cpu
        return Row(name, others.longest, others.where, wait, spent, most, most - before, asked, failed)


def _asked(url: str, name: str) -> int:
    with Puller(url) as puller:
        return int(puller.get(ASKED).json().get(name, 0))


def rows(names: list[str], clients: int) -> Iterator[Row]:
    for name in names:
        yield measure(name, clients)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = [*ATTACKS, *(f"client: {name}" for name in CLIENTS)]
    parser.add_argument("--attacks", nargs="*", default=every)
    parser.add_argument("--clients", type=int, default=20)
    given = parser.parse_args()
    print("| attack | longest turn | longest wait | CPU | memory | asked | failed |\n|---|---|---|---|---|---|---|")
    for row in rows(given.attacks, given.clients):
        print(row, flush=True)
        print(row.name, row.where, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
