"""A store of a million blobs: what planning a cleanup takes, and what it takes from pulls beside it.

    python -m bench.scale [--blobs 1000000] [--repositories 50000] [--folder DIR]

The blobs are empty files, each in one repository, under names that are no digests of theirs: nothing here reads them.
Needs about 2.5 inodes a blob in DIR and removes them in the end.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.figures import REPOSITORY
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.store.layout import Layout
from tests.harness.images import KiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

SECONDS = 10.0
ROUNDS = 3
CLIENTS = 4


def make_store(root: Path, upstream: str, blobs: int, repositories: int) -> None:
    """Fill a store with ``blobs`` empty files, shared out over ``repositories``, used at random in the last week."""
    layout = Layout.open(root)
    for two in range(256):
        os.makedirs(f"{layout.blobs}/sha256/{two:02x}", exist_ok=True)
    now = time.time()
    each = blobs // repositories
    for number in range(repositories):
        folder = f"{layout.repository(upstream, Repository(f'team{number // 250}/app{number}'))}/_blobs/sha256"
        os.makedirs(folder)
        for part in range(each):
            digest = Digest("sha256", hashlib.sha256(b"%d %d" % (number, part)).hexdigest())
            path = layout.blob(digest)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o444))
            used = now - (number * 7919 % 604_800)
            os.utime(path, (used, used))
            os.link(path, f"{folder}/{digest.hex}")


def pulls_per_second(cache: CacheServer, blob: str, seconds: float) -> float:
    """Hits of a blob of 4 KiB by CLIENTS clients."""
    over = time.monotonic() + seconds
    counts = [0] * CLIENTS

    def client(number: int) -> None:
        with Puller(cache.url) as puller:
            while time.monotonic() < over:
                assert puller.blob(blob, REPOSITORY).status == 200
                counts[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def dry_run(cache: CacheServer) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "registry_cache.cli", "cleanup", "--dry-run"],
        env={**os.environ, "REGISTRY_CACHE_CONFIG": str(cache.config_file)},
        stdout=subprocess.PIPE,
    )


def measure(cache: CacheServer, blob: str) -> None:
    for _ in range(ROUNDS):
        began = time.monotonic()
        process = dry_run(cache)
        told = process.communicate()[0].decode().splitlines()[-1]
        print(f"cleanup --dry-run: {time.monotonic() - began:.1f} s; {told}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of any child so far: {peak:.0f} MB")
    shares = []
    for _ in range(ROUNDS):
        alone = pulls_per_second(cache, blob, SECONDS)
        process = dry_run(cache)
        beside = pulls_per_second(cache, blob, min(SECONDS, 5.0))
        running = process.poll() is None
        process.communicate()
        shares.append(beside / alone)
        print(
            f"pulls/s alone {alone:.0f}, beside a dry run {beside:.0f}: {beside / alone:.2f}"
            + ("" if running else " (it ended before)"),
            flush=True,
        )
    print(f"median share {sorted(shares)[len(shares) // 2]:.2f}")


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blobs", type=int, default=1_000_000)
    parser.add_argument("--repositories", type=int, default=50_000)
    parser.add_argument("--folder", default=None)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    upstream = FakeUpstream()
    try:
        began = time.monotonic()
        make_store(folder / "store", upstream.address, given.blobs, given.repositories)
        print(f"{given.blobs} blobs in {given.repositories} repositories, made in {time.monotonic() - began:.0f} s")
        # No size: the server would hold to it itself, and the planned pass find nothing.
        config = {"proxy": {"ttl": "84h"}}
        began = time.monotonic()
        cache = CacheServer(folder, upstream.url, config=config)
        try:
            with Puller(cache.url) as puller:
                assert puller.get("/v2/").status == 200
                print(f"start to the first answer: {time.monotonic() - began:.1f} s")
                began = time.monotonic()
                assert len(puller.get("/v2/_catalog?n=100").json()["repositories"]) <= 100
                print(f"_catalog?n=100: {time.monotonic() - began:.2f} s")
                blob = upstream.add_blob(random_bytes(4 * KiB, seed=1))
                puller.blob(blob, REPOSITORY)
            measure(cache, blob)
        finally:
            cache.close()
    finally:
        upstream.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
