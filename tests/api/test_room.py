"""A server that nobody cleans up for: it holds to its size, and makes room on a full disk."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

HOUR = 3600.0


def stored(cache: CacheServer) -> int:
    total = 0
    for path in cache.root.glob("blobs/*/*/*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def here(cache: CacheServer, blob: str) -> bool:
    algorithm, _, name = blob.partition(":")
    return (cache.root / "blobs" / algorithm / name[:2] / name).exists()


def fill(upstream: FakeUpstream, cache: CacheServer, puller: Puller, count: int, size: int) -> list[str]:
    """Pull blobs, of which the first was used longest ago, and all of them hours ago."""
    blobs = []
    for number in range(count):
        blobs.append(upstream.add_blob(random_bytes(size, seed=f"old {number}")))
        assert digest_of(puller.blob(blobs[-1]).body) == blobs[-1]
        eventually(lambda: here(cache, blobs[-1]))
        then = time.time() - (count - number) * HOUR
        for path in cache.root.glob(f"blobs/*/*/{blobs[-1].partition(':')[2]}"):
            os.utime(path, (then, then))
    return blobs


def test_a_size_holds_without_cron(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB"}})
    puller = make_puller(cache.url)
    old = fill(upstream, cache, puller, 5, 200 * KiB)

    new = upstream.add_blob(random_bytes(200 * KiB, seed="new"))
    assert digest_of(puller.blob(new).body) == new

    eventually(lambda: stored(cache) <= 1 * MiB and not here(cache, old[0]))
    assert here(cache, new)
    assert here(cache, old[-1])
    eventually(
        lambda: re.search(r"^registry_cache_evicted_blobs_total [1-9]", puller.get("/metrics").body.decode(), re.M)
    )


def test_a_size_holds_where_upstream_tells_none(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB"}})
    puller = make_puller(cache.url)
    upstream.faults.no_length = True
    fill(upstream, cache, puller, 8, 300 * KiB)
    eventually(lambda: stored(cache) <= 1 * MiB)


def test_what_is_pinned_stays(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB"}})
    puller = make_puller(cache.url)
    old = fill(upstream, cache, puller, 5, 200 * KiB)
    pinned = cache.run("pin", old[0])
    assert (pinned.returncode, pinned.stdout) == (0, f"*/**@{old[0]} pinned\n")

    puller.blob(upstream.add_blob(random_bytes(200 * KiB, seed="new")))

    eventually(lambda: not here(cache, old[1]))
    assert here(cache, old[0])


def test_a_blob_that_is_larger_than_all_the_room_costs_nobody_its_place(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB"}})
    puller = make_puller(cache.url)
    old = fill(upstream, cache, puller, 4, 200 * KiB)
    large = upstream.add_blob(random_bytes(3 * MiB, seed="large"))

    assert [digest_of(puller.blob(large).body) for _ in range(2)] == [large, large]

    assert [here(cache, blob) for blob in (*old, large)] == [True] * 4 + [False]


def test_a_blob_that_is_only_announced_costs_nobody_its_place(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB", "max_blob_percent": 100}})
    puller = make_puller(cache.url)
    old = fill(upstream, cache, puller, 5, 200 * KiB)
    huge = upstream.add_blob(random_bytes(1000 * KiB, seed="huge"))
    upstream.faults.hold_at = 8 * KiB

    puller.start_blob("library/app", huge).wait_for(4 * KiB)

    # The server's own pass would find the same as this one.
    assert cache.run("cleanup").returncode == 0
    assert [here(cache, blob) for blob in old] == [True] * 5


@pytest.mark.needs_root
def test_a_full_disk_costs_no_pull_and_is_made_room_on(
    small_disk: Path, upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache(root=small_disk / "store")
    puller = make_puller(cache.url)
    old = fill(upstream, cache, puller, 7, 1 * MiB)
    new = upstream.add_blob(random_bytes(2 * MiB, seed="new"))

    def cached() -> bool:
        answer = puller.blob(new)
        assert (answer.status, digest_of(answer.body)) == (200, new)
        return bool(answer.headers["X-Cache"] == "hit")

    eventually(cached)
    assert not here(cache, old[0])
    assert here(cache, old[-1]), cache.log_text()
    log = cache.log_file.read_text()
    assert 1 <= log.count("the disk refuses") <= 2
    # The pass may still be sweeping up.
    eventually(lambda: "info made room blobs=" in cache.log_text())
    assert log.count("the disk takes blobs again") >= 1


@pytest.mark.needs_root
def test_a_full_disk_that_nothing_can_be_evicted_from(
    small_disk: Path, upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache(root=small_disk / "store", workers=1)
    puller = make_puller(cache.url)
    assert puller.get("/v2/").status == 200  # the store is there
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        room = os.statvfs(small_disk)
        # Down to the last page: not even a lock file finds room.
        assert file.write(bytes(room.f_bavail * room.f_bsize)) == room.f_bavail * room.f_bsize
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="blob"))

    for _ in range(10):
        assert digest_of(puller.blob(blob, APP).body) == blob

    assert cache.log_file.read_text().count("the disk refuses") == 1
    cache.kill_all()
    cache.start()
    assert digest_of(puller.blob(blob, APP).body) == blob
    ballast.unlink()
    eventually(lambda: puller.blob(blob, APP).headers["X-Cache"] == "hit")
    assert "the disk takes blobs again" in cache.log_file.read_text()
