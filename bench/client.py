"""Clients of whole bodies, in a process of their own.

    python -m bench.client stream URL PATH --clients 4 --times 2    each client GETs the path so often
    python -m bench.client image URL TAG --clients 16               as dockerd pulls: three blobs at a time a client
    python -m bench.client ranges URL PATH --part 0-99 5-7          each client GETs these, one after another
    python -m bench.client check URL TAG                            once, and every digest is compared
    python -m bench.client ping URL                                 GET /v2/ anew every 50 ms, until standard input ends

prints JSON: seconds from the moment at which all begin to the last one's last byte, ``right`` (clients that got
everything) and the first error.
"""

import argparse
import hashlib
import json
import queue
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from bench.content import REPOSITORY, manifest_path
from bench.wire import Agent

PING_SECONDS = 0.05
AT_A_TIME = 3  # blobs, by dockerd's default
_STACK = 256 * 1024  # a thousand threads that only wait


class Crowd:
    """Clients that begin at one moment, a thread each."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._errors: list[Exception] = []
        self._work = work
        self._ready = threading.Barrier(count + 1)
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def run(self) -> dict[str, Any]:
        """Return when all have ended, well or not."""
        for thread in self._threads:
            thread.start()
        self._ready.wait()
        began = time.perf_counter()
        for thread in self._threads:
            thread.join()
        seconds = time.perf_counter() - began
        right = len(self._threads) - len(self._errors)
        return {"seconds": seconds, "right": right, "error": repr(self._errors[0]) if self._errors else None}

    def _run(self) -> None:
        self._ready.wait()
        try:
            self._work()
        except (OSError, RuntimeError, LookupError) as error:
            self._errors.append(error)


def stream(url: str, path: str, times: int) -> None:
    """GET ``path`` so often on one connection."""
    agent = Agent(url)
    for _ in range(times):
        agent.ask(path)
    agent.close()


def pull(url: str, tag: str, get: Callable[[Agent, str], None]) -> None:
    """Pull an image as dockerd does: ping, tag, manifest by digest, then its blobs, some at a time."""
    agent = Agent(url)
    agent.ask("/v2/")
    digest = agent.ask(manifest_path(tag), "HEAD").headers["docker-content-digest"]
    manifest = json.loads(agent.read(manifest_path(digest)))
    blobs: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for each in (manifest["config"], *manifest["layers"]):
        blobs.put(each["digest"])
    hands = [agent, *(Agent(url, agent.token) for _ in range(AT_A_TIME - 1))]
    for _ in hands:
        blobs.put(None)
    _together(lambda each: _blobs(each, iter(blobs.get, None), get), hands)


def _blobs(agent: Agent, digests: Iterable[str], get: Callable[[Agent, str], None]) -> None:
    for digest in digests:
        get(agent, digest)
    agent.close()


def _together(work: Callable[[Agent], None], hands: list[Agent]) -> None:
    errors: list[Exception] = []

    def run(agent: Agent) -> None:
        try:
            work(agent)
        except (OSError, RuntimeError) as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(hand,), daemon=True) for hand in hands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def drop_blob(agent: Agent, digest: str) -> None:
    agent.ask(f"/v2/{REPOSITORY}/blobs/{digest}")


def compare_blob(agent: Agent, digest: str) -> None:
    """RuntimeError for wrong bytes."""
    hasher = hashlib.sha256()
    agent.ask(f"/v2/{REPOSITORY}/blobs/{digest}", eat=hasher.update)
    if f"sha256:{hasher.hexdigest()}" != digest:
        raise RuntimeError(f"{digest}: the bytes are not what it names")


def ranges(url: str, path: str, parts: Sequence[str], milliseconds: list[float]) -> None:
    """GET these parts of ``path`` on one connection, as who reads a layer lazily; note how long each took."""
    agent = Agent(url)
    for part in parts:
        began = time.perf_counter()
        agent.ask(path, part=part)
        milliseconds.append((time.perf_counter() - began) * 1000)
    agent.close()


def ping(url: str) -> dict[str, Any]:
    """Return the milliseconds of each, sorted; a connection each, as a new client makes."""
    milliseconds = []
    while not select.select([sys.stdin], [], [], PING_SECONDS)[0]:
        began = time.perf_counter()
        agent = Agent(url)
        agent.ask("/v2/")
        agent.close()
        milliseconds.append((time.perf_counter() - began) * 1000)
    return {"milliseconds": sorted(milliseconds)}


def main() -> None:
    """Print what the clients saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stream", "image", "ranges", "check", "ping"])
    parser.add_argument("url")
    parser.add_argument("name", nargs="?", default="", help="a path, or a tag")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--part", nargs="+", default=[], help="as in a Range")
    given = parser.parse_args()
    assert urlsplit(given.url).netloc, "the URL has no host"
    threading.stack_size(_STACK)
    milliseconds: list[float] = []
    work: dict[str, Callable[[], None]] = {
        "stream": lambda: stream(given.url, given.name, given.times),
        "image": lambda: pull(given.url, given.name, drop_blob),
        "ranges": lambda: ranges(given.url, given.name, given.part, milliseconds),
        "check": lambda: pull(given.url, given.name, compare_blob),
    }
    told = ping(given.url) if given.what == "ping" else Crowd(given.clients, work[given.what]).run()
    print(json.dumps({"milliseconds": sorted(milliseconds), **told}))


if __name__ == "__main__":
    main()
