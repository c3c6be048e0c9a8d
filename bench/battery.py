"""A crowd of bad clients and a hostile registry beside honest pulls: who fails, and how long `/v2/` takes.

    python -m bench.battery [--seconds 120]

200 clients read nothing of what they asked for, 200 send half a head, 1,000 ask for a large blob and leave at once, and
50 times a second a client asks for what the hostile registry answers by an attack. Beside them an honest client pulls
images, each first cold and then warm. The exit status is 1 if one of its pulls fails, or `/v2/` takes longer than
250 ms for one of a hundred.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import multiprocessing
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.hostile_registry import ATTACKS, PREFIX, HostileRegistry
from bench.slow_clients import ping, slow_clients
from tests.harness.content import digest_of
from tests.harness.images import KiB, MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

REPOSITORY = "library/app"
EVIL = PREFIX
PING_PAUSE_SECONDS = 0.02
# Where bad clients come from: what is bounded for an address must not be bounded for honest ones.
BAD = ("127.0.0.66", 0)
# For another process to begin, or to say what it did.
HOSTILE_SECONDS = 60.0
MOST_PING_SECONDS = 0.25
# Blobs to be abandoned: large enough that nobody has read them when he leaves.
ABANDONED, ABANDONED_SIZE = 50, 4 * MiB


@dataclass
class Numbers:
    """What came of it; ``memory`` in bytes, of the largest worker."""

    pulls: Counter[str] = field(default_factory=Counter)
    pings: list[float] = field(default_factory=list)
    hostile: Counter[str] = field(default_factory=Counter)
    abandoned: int = 0
    memory: int = 0
    restarts: int = 0

    @property
    def p99(self) -> float:
        return sorted(self.pings)[len(self.pings) * 99 // 100]

    @property
    def is_good(self) -> bool:
        return set(self.pulls) <= {"cold", "warm"} and self.p99 < MOST_PING_SECONDS and not self.restarts

    def lines(self) -> Iterator[str]:
        yield f"honest pulls: {dict(self.pulls)}"
        yield f"/v2/: {len(self.pings)} pings, p99 {self.p99 * 1000:.0f} ms, worst {max(self.pings) * 1000:.0f} ms"
        yield f"hostile answers: {sum(self.hostile.values())} of {len(self.hostile)} kinds; abandoned: {self.abandoned}"
        yield f"the largest worker had {self.memory / MiB:.0f} MiB; workers that ended: {self.restarts}"


def run(folder: Path, seconds: float, crowd: int = 200, abandoned: int = 1000, hostile_rate: float = 50.0) -> Numbers:
    """Return what came of ``seconds`` with ``crowd`` slow clients of each kind."""
    numbers = Numbers()
    with contextlib.ExitStack() as stack:
        upstream = FakeUpstream()
        stack.callback(upstream.stop)
        url = stack.enter_context(closing_process(serve_hostile)).get(timeout=HOSTILE_SECONDS)
        config = {"upstreams": {EVIL: {"remoteurl": url}}}
        cache = CacheServer(folder / "cache", upstream.url, config=config)
        stack.callback(cache.close)
        host, port = cache.address.split(":")
        large = upstream.add_blob(random_bytes(64 * MiB, seed="large"), REPOSITORY)
        with Puller(cache.url) as puller:
            assert puller.blob(large, REPOSITORY).status == 200
        workers = cache.workers()
        stack.enter_context(slow_clients((host, int(port)), f"/v2/{REPOSITORY}/blobs/{large}", crowd, crowd))
        ended = threading.Event()
        tasks: list[Callable[[threading.Event], None]] = [
            lambda over: _pull_honestly(cache, upstream, numbers, over),
            lambda over: _ping((host, int(port)), numbers, over),
            lambda over: _abandon((host, int(port)), upstream, numbers, abandoned / seconds, over),
            lambda over: _watch_memory(cache, workers, numbers, over),
        ]
        bad = stack.enter_context(closing_process(ask_hostile, (host, int(port)), hostile_rate, seconds))
        threads = [threading.Thread(target=task, args=(ended,)) for task in tasks]
        for thread in threads:
            thread.start()
        ended.wait(seconds)
        ended.set()
        for thread in threads:
            thread.join()
        numbers.hostile = bad.get(timeout=HOSTILE_SECONDS)
        numbers.restarts = len(set(workers) - set(cache.workers()))
    return numbers


def _pull_honestly(cache: CacheServer, upstream: FakeUpstream, numbers: Numbers, over: threading.Event) -> None:
    number = 0
    with Puller(cache.url) as puller:
        while not over.is_set():
            number += 1
            image = make_image(upstream, f"library/honest{number}", layers=2, layer_size=256 * KiB, seed=number)
            for kind in ("cold", "warm"):
                numbers.pulls[kind if _is_right(puller, image.repository, image.blobs) else f"{kind}: failed"] += 1


def _is_right(puller: Puller, repository: str, blobs: tuple[str, ...] | list[str]) -> bool:
    try:
        manifest = puller.manifest("1", repository)
        return manifest.status == 200 and all(digest_of(puller.blob(blob, repository).body) == blob for blob in blobs)
    except (OSError, http.client.HTTPException):
        return False


def _ping(address: tuple[str, int], numbers: Numbers, over: threading.Event) -> None:
    while not over.wait(PING_PAUSE_SECONDS):
        numbers.pings.append(ping(address))


def _abandon(
    address: tuple[str, int], upstream: FakeUpstream, numbers: Numbers, rate: float, over: threading.Event
) -> None:
    blobs = [upstream.add_blob(random_bytes(ABANDONED_SIZE, seed=f"left {n}"), REPOSITORY) for n in range(ABANDONED)]
    while not over.wait(1 / rate):
        blob = blobs[numbers.abandoned % len(blobs)]
        with socket.create_connection(address, timeout=60, source_address=BAD) as client:
            client.sendall(f"GET /v2/{REPOSITORY}/blobs/{blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        numbers.abandoned += 1


@contextlib.contextmanager
def closing_process(target: Callable[..., None], *arguments: object) -> Iterator[Any]:
    """Run ``target(queue, *arguments)`` in a process that does not share our interpreter; yield the queue."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=target, args=(queue, *arguments), daemon=True)
    process.start()
    try:
        yield queue
    finally:
        process.kill()
        process.join()


def serve_hostile(queue: Any) -> None:
    """Say where the hostile registry is, and serve until the process is killed."""
    registry = HostileRegistry()
    queue.put(registry.url)
    threading.Event().wait()


def ask_hostile(queue: Any, address: tuple[str, int], rate: float, seconds: float) -> None:
    """Ask ``rate`` times a second, whatever is still unanswered, and say what was asked for how often."""
    dice, asked, end = random.Random(), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        attack = dice.choice(sorted(ATTACKS))
        name, digest = f"{EVIL}/{attack}/{dice.randrange(100)}", f"sha256:{dice.randrange(10**9):064x}"
        kinds = ("manifests/latest", f"manifests/{digest}", f"blobs/{digest}", "tags/list", f"referrers/{digest}")
        path = f"/v2/{name}/{dice.choice(kinds)}"
        threading.Thread(target=swallow, args=(address, path), daemon=True).start()
        asked[attack] += 1
        time.sleep(1 / rate)
    queue.put(asked)


def swallow(address: tuple[str, int], path: str) -> int:
    """Ask for ``path``, drop what comes, and return how many bytes that was; may take as long as the answer does."""
    received = 0
    with contextlib.suppress(OSError), socket.create_connection(address, 60, BAD) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while piece := client.recv(1024 * 1024):
            received += len(piece)
    return received


def _watch_memory(cache: CacheServer, workers: list[int], numbers: Numbers, over: threading.Event) -> None:
    while not over.wait(0.5):
        numbers.memory = max([numbers.memory, *map(cache.rss, workers)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="battery-") as name:
        numbers = run(Path(name), given.seconds)
    print(*numbers.lines(), sep="\n")
    return 0 if numbers.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
