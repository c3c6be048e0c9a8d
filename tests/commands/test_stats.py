"""``registry-cache stats`` and ``pulls``: what a server has counted, on a terminal and for a program."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime

import pytest

from registry_cache.commands import stats
from registry_cache.runtime.event_queue import Change
from registry_cache.stats.calendar import bucket_of, day_of
from registry_cache.stats.day import Day
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.sums import DiskUse, Sums
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from registry_cache.upkeep.statistics_text import PLAIN_BLOCKS, StatisticsReport, spark
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_index, random_bytes
from tests.harness.programs import PROGRAM, run, without_heading
from tests.harness.server import CacheServer, clean_environment
from tests.harness.upstream import FakeUpstream


def ran(cache: CacheServer, *arguments: str) -> str:
    done = cache.run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_pull_through_two_workers_is_one_line(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    index = make_index(upstream, tag="1")
    platform = index.images[0]
    blob = upstream.add_blob(random_bytes(1_000_000, seed="stats"))
    cache = make_cache(workers=2)
    assert make_puller(cache.url).head(f"/v2/{APP}/manifests/1").status == 200
    assert make_puller(cache.url).get(f"/v2/{APP}/manifests/{index.digest}").status == 200
    assert make_puller(cache.url).get(f"/v2/{APP}/manifests/{platform.digest}").status == 200
    for _ in range(2):
        assert make_puller(cache.url).get(f"/v2/{APP}/blobs/{blob}").status == 200
    cache.restart()

    name = upstream.url.removeprefix("http://")
    for query in (APP, f"{APP}:1", "127.0.0.1", index.digest, platform.digest[:20]):
        [pull] = json.loads(ran(cache, "pulls", query, "--json"))["pulls"]
        assert (pull["upstream"], pull["repository"], pull["tag"]) == (name, APP, "1")
        assert (pull["digest"], pull["platforms"]) == (index.digest, [platform.digest])
    lines = ran(cache, "pulls").splitlines()
    assert lines[0].split() == ["WHEN", "CLIENT", "USER", "OUTCOME", "IMAGE", "DIGEST"]
    assert lines[1].split()[1:5] == ["127.0.0.1", "-", "miss", f"{name}/{APP}:1"]
    assert ran(cache, "pulls", "nobody") == "no pulls are known\n"

    document = json.loads(ran(cache, "stats", "--json", "--since", "1h"))
    assert (document["sums"]["saved"], document["sums"]["pulls"], document["sums"]["clients"]) == (1_000_000, 1, 1)
    assert sum(sum(each["served"].values()) for each in document["series"]) == sum(document["sums"]["served"].values())
    text = ran(cache, "stats", "--since", "7d")
    assert "saved    976.6 KiB" in text
    assert f"  976.6 KiB  {name}/{APP}" in text


def ran_over(layout: Layout, *arguments: str, **environment: str) -> str:
    """What the program prints of a store that no server has open."""
    folder = str(layout.root)
    seen = clean_environment(HOME=folder, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=folder, **environment)
    done = run([PROGRAM, *arguments], seen)
    assert (done.returncode, done.stderr) == (0, "")
    return without_heading(done.stdout)


def test_a_store_that_nobody_serves_from(layout: Layout) -> None:
    assert ran_over(layout, "stats").splitlines()[1:] == ["  nothing was asked for"]
    assert "pulls are not recorded" in ran_over(layout, "pulls", REGISTRY_STATISTICS_JOURNAL_DAYS="0")


def test_a_terminal_without_blocks(layout: Layout) -> None:
    now = time.time()
    day = Day(buckets={bucket_of(now): Sums(requests={"hit": 1}, served={"hit": 5})})
    write_whole(StatisticsFiles(layout).day(day_of(now)), day.encode())
    assert "█" in ran_over(layout, "stats", PYTHONIOENCODING="utf-8")
    assert "@" in ran_over(layout, "stats", PYTHONIOENCODING="latin-1")


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("2w", 336), ("90m", 1.5), ("24h", 24)])
def test_how_far_back(text: str, hours: float) -> None:
    assert stats.time_span(text).total_seconds() == hours * 3600


@pytest.mark.parametrize("text", ["7", "d", "-1h", "0s", "1y", "10000w", ""])
def test_no_time_to_look_back(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="24h or 7d"):
        stats.time_span(text)


def test_a_sparkline() -> None:
    assert spark([0, 1, 500, 1000], PLAIN_BLOCKS) == " .=@"
    assert spark([0, 0]) == "  "
    assert spark([]) == ""


def test_a_store_that_nobody_has_counted_is_not_called_empty() -> None:
    sums = [Sums(requests={"hit": 1}, disk=DiskUse(used, 0, 2048)) for used in (0, 1024)]
    at = datetime.fromtimestamp(time.time(), UTC)
    texts = ["\n".join(StatisticsReport(0, at, each, [], {}, [], []).lines()) for each in sums]

    assert "  disk     not counted yet, 2.0 KiB free" in texts[0]
    assert "  disk     1.0 KiB used, 2.0 KiB free" in texts[1]


def test_numbers_of_one_and_what_needs_a_look() -> None:
    now = time.time()
    moved = Change(now, "moved", "docker.io", "library/nginx", "1.27", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}")
    gone = Change(now, "gone", "ghcr.io", "acme/api", f"sha256:{'c' * 64}")
    sums = Sums(requests={"hit": 1}, pulls=1, clients=1, evicted_blobs=1, evicted_bytes=1024)
    report = StatisticsReport(now - 3600, datetime.fromtimestamp(now, UTC), sums, [], {}, [moved, *[gone] * 20], [])
    text = "\n".join(report.lines())

    assert ", 1 answer\n" in text
    assert "  pulls    1 by 1 client\n" in text
    assert "  evicted  1 blob, 1.0 KiB\n" in text
    assert "moved        docker.io/library/nginx:1.27  from sha256:aaaaaaaaaaaa to sha256:bbbbbbbbbbbb\n" in text
    assert text.count(f"gone         ghcr.io/acme/api@sha256:{'c' * 64}\n") == 19
    assert text.endswith("  and 1 more: --json has them")
