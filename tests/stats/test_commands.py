"""What commands fetch and evict is in the numbers that last; where no server runs, they fold it themselves."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import yaml

from registry_cache.stats.statistics import Statistics
from registry_cache.stats.sums import Sums
from registry_cache.store.layout import Layout
from registry_cache.ui.changes import change_rows
from tests.harness.images import MiB, make_image
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


def sums(cache: CacheServer) -> Sums:
    return Statistics(Layout(cache.root)).sums(0)


def test_what_commands_fetch_and_evict_counts(upstream: FakeUpstream, tmp_path: Path) -> None:
    first = make_image(upstream, layers=1, layer_size=MiB)
    make_image(upstream, tag="2", layers=1, layer_size=MiB, seed=2)
    name = upstream.url.removeprefix("http://")
    with running_cache(tmp_path, upstream) as cache:
        assert cache.run("warm", "library/app:1").returncode == 0
    fetched = sums(cache).fetched[name]
    assert fetched == sum(upstream.bytes_sent(blob) for blob in first.blobs) + len(first.manifest)

    # Nobody serves any more.
    assert cache.run("export", "library/app:2", "--platform", "all", "--to", str(cache.root / "a.tar")).returncode == 0
    assert sums(cache).fetched[name] > fetched + MiB
    day_ago = time.time() - 86_400
    for path in cache.root.glob("blobs/*/*/*"):
        os.utime(path, (day_ago, day_ago))
    config = yaml.safe_load(cache.config_file.read_text())
    config["storage"]["max_size"] = "1.5MB"
    cache.config_file.write_text(yaml.safe_dump(config))
    told = json.loads(cache.run("cleanup", "--force", "--json").stdout)["evicted"]
    found = sums(cache)
    assert (found.evicted_blobs, found.evicted_bytes) == (told["blobs"], told["bytes"])
    assert found.evicted_blobs > 0
    # A dry run evicts nothing.
    before = sums(cache)
    assert cache.run("cleanup", "--force", "--dry-run").returncode == 0
    assert sums(cache) == before


def test_what_verify_puts_into_quarantine_needs_a_look(upstream: FakeUpstream, tmp_path: Path) -> None:
    image = make_image(upstream, layers=1)
    with running_cache(tmp_path, upstream) as cache:
        assert cache.run("warm", "library/app:1").returncode == 0
        damaged = cache.blob_file(image.layers[0])
        damaged.chmod(0o644)
        damaged.write_bytes(b"x" * damaged.stat().st_size)
        cache.run("verify", "--repair", "--rate", "0")
    [change] = Statistics(Layout(cache.root)).changes(0, ["quarantined"])
    assert (change.upstream, change.repository, change.reference) == (
        *(upstream.url.removeprefix("http://"), "library/app", image.layers[0]),
    )
    [row] = change_rows([change])
    assert row.command == f"registry-cache pulls {change.upstream}/library/app"
