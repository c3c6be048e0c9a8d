"""What the page costs: its own time and bytes over a store of many repositories, and what a pull notices of it.

    python -m bench.page [--quick] [--repositories 100000] [--folder DIR]

1. The time of the first page after a start, of the next ones, and of searches; the bytes of all that a browser loads.
2. The worst of many pings (`/v2/`) and hits, in turns without and with somebody who reloads the page 50 times a second.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figures import spread
from registry_cache.store.layout import Layout
from registry_cache.upkeep.survey import look_through
from tests.harness.images import make_image
from tests.harness.month import write_month
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

RELOADS_A_SECOND = 50
# A file has so many names at most, on ext4.
_MOST_LINKS = 60_000
_TAG = '{"digest": "sha256:%s", "media_type": "a/b", "size": 2, "changed_at": "2026-01-01T00:00:00+00:00"}'


def make_repositories(root: Path, count: int) -> None:
    """Make repositories with a tag each."""
    layout, record = Layout.open(root), root / "record"
    for number in range(count):
        if number % _MOST_LINKS == 0:
            record.unlink(missing_ok=True)
            record.write_text(_TAG % ("a" * 64), encoding="utf-8")
        upstream = ("docker.io", "ghcr.io", "quay.io")[number % 3]
        tags = f"{layout.repositories}/{upstream}/team{number // 1000:03}/service-{number:06}/_tags"
        os.makedirs(tags)
        os.link(record, f"{tags}/latest.json")
    record.unlink()


class Client:
    """One connection that is kept."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def get(self, path: str) -> tuple[float, bytes]:
        """Return how many seconds the answer took, and its body."""
        began = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status)
        return time.perf_counter() - began, body


def page_times(url: str, times: int) -> Iterator[str]:
    client = Client(url)
    first, page = client.get("/ui/")
    later = []
    for _ in range(times):
        # What was made is remembered for a second.
        time.sleep(1.1)
        later.append(client.get("/ui/")[0])
    loaded = [client.get(path)[1] for path in re.findall(r'(?:href|src)="(/ui/[^"]+\?[0-9a-f]{8})"', page.decode())]
    yield f"first page after the start: {first * 1000:.0f} ms; made anew {times} times: {spread(later)}"
    again = [client.get("/ui/")[0] for _ in range(50)]
    yield f"asked for again within a second: {spread(again)}"
    month, _ = client.get("/ui/?days=30")
    yield f"30 days: {month * 1000:.0f} ms"
    words = ["service-099999", "service", "e", "nothing like it", "quay.io/team042"]
    found = [client.get(f"/ui/images?q={word.replace(' ', '+')}")[0] for word in words * times]
    yield f"searches: {spread(found)}"
    sizes = [len(page), *map(len, loaded)]
    yield f"bytes of the page, {len(loaded)} more files included: {sum(sizes)} ({', '.join(map(str, sizes))})"


@contextmanager
def reloading(url: str) -> Iterator[None]:
    """Somebody reloads the page meanwhile, from a process of their own."""
    command = [sys.executable, "-m", "bench.page", "--reload", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def reload(url: str) -> None:
    client, due = Client(url), time.perf_counter()
    client.get("/ui/")
    print("reloading", flush=True)
    while True:
        client.get("/ui/")
        due += 1 / RELOADS_A_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))


def worst(url: str, path: str, seconds: float) -> tuple[float, float]:
    """Return the worst and the median time of an answer."""
    client, end, found = Client(url), time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        found.append(client.get(path)[0])
    return max(found), statistics.median(found)


def beside_pulls(cache: CacheServer, url: str, path: str, rounds: int, seconds: float) -> str:
    """Compare in turns: each round's two figures are of the same ten seconds of this machine."""
    pairs = []
    for number in range(rounds):
        for is_reloaded in (number % 2 == 0, number % 2 == 1):
            if is_reloaded:
                with reloading(url):
                    with_page = worst(cache.url, path, seconds)
            else:
                without = worst(cache.url, path, seconds)
        pairs.append((without, with_page))
    ratios = sorted(with_page[0] / without[0] for without, with_page in pairs)
    medians = statistics.median(with_page[1] / without[1] for without, with_page in pairs)
    alone, beside = (statistics.median(pair[number][0] for pair in pairs) * 1000 for number in (0, 1))
    return (
        f"worst answer of {path[:12]}…: {alone:.1f} ms alone, {beside:.1f} ms beside {RELOADS_A_SECOND} reloads/s; "
        f"ratio, median of {rounds} pairs, {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); "
        f"of the medians {medians:.2f}"
    )


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the repositories, and few rounds")
    parser.add_argument("--repositories", type=int, default=100_000)
    parser.add_argument("--folder", help="on which disk; else TMPDIR's")
    parser.add_argument("--reload", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reload:
        reload(given.reload)
    count = given.repositories // 100 if given.quick else given.repositories
    upstream = FakeUpstream()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as name:
        root = Path(name) / "store"
        began = time.monotonic()
        make_repositories(root, count)
        write_month(root)
        print(f"{count} repositories and a month of statistics, made in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        assert look_through(Layout(root), time.time())
        print(f"survey: {time.monotonic() - began:.1f} s, {(root / 'survey').stat().st_size} bytes", flush=True)
        cache = CacheServer(Path(name), upstream.url, root=root, config=DEBUG)
        try:
            url = debug_url(cache)
            cache.workers()
            Client(url).get("/healthz")
            for line in page_times(url, 3 if given.quick else 20):
                print(line, flush=True)
            image = make_image(upstream, tag="1")
            Client(cache.url).get("/v2/library/app/manifests/1")
            rounds, seconds = (2, 2.0) if given.quick else (10, 5.0)
            for path in ("/v2/", f"/v2/library/app/manifests/{image.digest}"):
                print(beside_pulls(cache, url, path, rounds, seconds), flush=True)
        finally:
            cache.close()
            upstream.stop()


if __name__ == "__main__":
    main()
