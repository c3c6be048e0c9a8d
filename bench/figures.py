"""Figures for cold pulls, crashes, outages and tokens, each from a run of its own.

    python -m bench.figures

Real gunicorn with two workers on loopback in front of a fake registry. Ratios count; seconds are this machine's.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from tests.harness.images import make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

MIB = 1024 * 1024
REPOSITORY = "library/app"


@contextmanager
def serve(folder: str | None = None, **options: Any) -> Iterator[tuple[FakeUpstream, CacheServer, Puller]]:
    """A registry, a cache in front of it below ``folder`` and a client, ended behind the block."""
    upstream = FakeUpstream()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name:
        cache = CacheServer(Path(name), upstream.url, **options)
        try:
            with Puller(cache.url) as puller:
                yield upstream, cache, puller
        finally:
            upstream.faults.release()
            cache.close()
            upstream.stop()


def crowd_of_a_cold_blob() -> str:
    with serve() as (upstream, _, puller):
        blob = upstream.add_blob(random_bytes(24 * MIB, seed=1))
        pulls = [puller.start_blob(REPOSITORY, blob) for _ in range(32)]
        right = sum(pull.finish().digest == blob for pull in pulls)
        return f"32 clients, one cold 24 MiB blob: {right} right, upstream bytes {ratio(upstream, blob, 24 * MIB)} x"


def late_joiner() -> str:
    with serve() as (upstream, _, puller):
        blob = upstream.add_blob(random_bytes(8 * MIB, seed=2))
        upstream.faults.hold_at = 4 * MIB
        first = puller.start_blob(REPOSITORY, blob)
        first.wait_for(4 * MIB - MIB // 2)
        late = [puller.start_blob(REPOSITORY, blob) for _ in range(8)]
        for each in late:
            each.wait_for(1)
        upstream.faults.gate.set()
        worst = max(each.finish().first_byte_seconds or 0.0 for each in late)
        return f"8 joiners half-way through a held download: slowest first byte {worst * 1000:.0f} ms"


def after_a_kill(kill: Callable[[CacheServer], None], what: str) -> str:
    ratios = []
    for at in (1, 5, 11, 17, 23):
        with serve() as (upstream, cache, puller):
            blob = upstream.add_blob(random_bytes(24 * MIB, seed=at))
            upstream.faults.hold_at = at * MIB
            cache.workers()
            puller.start_blob(REPOSITORY, blob).wait_for(at * MIB - MIB // 2)
            kill(cache)
            upstream.faults.gate.set()
            assert puller.start_blob(REPOSITORY, blob).finish().digest == blob
            ratios.append(upstream.bytes_sent(blob) / (24 * MIB))
    return f"kill -9 of {what} at 1, 5, 11, 17, 23 of 24 MiB: next pull right, fetched {max(ratios):.2f} x at most"


def kill_workers(cache: CacheServer) -> None:
    for pid in cache.workers():
        cache.kill_worker(pid)


def kill_all(cache: CacheServer) -> None:
    cache.kill_all()
    cache.start()


def three_cuts() -> str:
    with serve() as (upstream, _, puller):
        blob = upstream.add_blob(random_bytes(24 * MIB, seed=3))
        upstream.faults.cut_after = [5 * MIB, 7 * MIB, 3 * MIB]
        assert puller.start_blob(REPOSITORY, blob).finish().digest == blob
        return f"24 MiB blob cut three times: right, fetched {ratio(upstream, blob, 24 * MIB)} x"


def counted_pulls() -> str:
    with serve() as (upstream, _, puller):
        make_image(upstream, tag="1")
        assert puller.manifest("1").status == 200
        cold = upstream.counted_pulls
        upstream.faults.rate_limit = 0
        outcomes = {puller.manifest("1").headers["X-Cache"] for _ in range(20)}
        words = f"counted pulls: cold image {cold}, 20 more by tag under a rate limit {upstream.counted_pulls - cold}"
        return f"{words} ({', '.join(sorted(outcomes))})"


def outage() -> str:
    """Ten clients pull for 30 seconds, until long after both workers' questions have failed and probes are made."""
    with serve(config={"proxy": {"tag_timeout": "2s"}}) as (upstream, cache, puller):
        make_image(upstream, tag="1")
        puller.manifest("1")
        upstream.faults.hold_before = "/v2/"
        with ThreadPoolExecutor(10) as clients:
            pulls = sorted(chain.from_iterable(clients.map(lambda _: list(pulling(cache.url, 30.0)), range(10))))
        # A client may meet the one worker first and then the other: by then each has learnt that upstream is silent.
        learnt = pulls[0][0] + 4.5
        first = [seconds for began, seconds in pulls if began < learnt]
        open_ = [seconds for began, seconds in pulls if began >= learnt]
        waited = sum(seconds > 1.0 for seconds in first)
        words = f"{waited} waits, {max(first):.2f} s at most, until the breakers open; then {len(open_)} pulls"
        return f"silent upstream, cached tag, two workers, 10 clients: {words}, {spread(open_)}"


def pulling(url: str, seconds: float) -> Iterator[tuple[float, float]]:
    """Pull a cached tag ten times a second; yield when each pull began, and how long it took."""
    end = time.monotonic() + seconds
    with Puller(url) as puller:
        while (began := time.monotonic()) < end:
            assert puller.manifest("1").headers["X-Cache"] == "stale"
            yield began, time.monotonic() - began
            time.sleep(0.1)


def spread(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds) * 1000:.1f} ms, worst {max(seconds) * 1000:.0f} ms"


def tokens() -> str:
    with serve() as (upstream, cache, puller):
        upstream.faults.require_token = True
        image = make_image(upstream, tag="1", layers=6)
        puller.manifest("1")
        pulls = [puller.start_blob(REPOSITORY, blob) for blob in image.blobs]
        for pull in pulls:
            pull.finish()
        return f"image of six layers: {len(upstream.token_requests)} token requests by {len(cache.workers())} workers"


def ratio(upstream: FakeUpstream, blob: str, size: int) -> str:
    return f"{upstream.bytes_sent(blob) / size:.2f}"


def main() -> None:
    """Print a line per figure."""
    print(crowd_of_a_cold_blob())
    print(late_joiner())
    print(after_a_kill(kill_workers, "both workers"))
    print(after_a_kill(kill_all, "everything"))
    print(three_cuts())
    print(counted_pulls())
    print(outage())
    print(tokens())


if __name__ == "__main__":
    main()
