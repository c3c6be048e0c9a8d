"""A store of a million blobs: what it takes to plan a cleanup, and how much that slows pulls down.

    python -m bench.scale [--quick] [--blobs 1000000] [--repositories 50000] [--pairs 12] [--folder DIR]

Blobs are empty files whose names are not their digests: nothing here reads them. Each repository has one
manifest, which names all its blobs and was used after them, as by clients that have the layers. That use has not been
passed on yet, so the plan has the most to read and to remember. Half of everything was last used before `proxy.ttl`.

A dry run is started in a session of its own and with the priority of the shipped cron line, then of the systemd unit.
Pulls beside it and alone are measured in turn, while the same dry run goes on or is stopped (SIGSTOP).
Needs 1.5 inodes for each blob in DIR, and removes them at the end. Needs wrk, and ionice for the unit's priority.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import REPOSITORY
from bench.processes import tree
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_MANIFEST
from registry_cache.oci.names import FullName, Repository
from registry_cache.store import atomic_write
from registry_cache.store.layout import Layout
from tests.harness.images import KiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.store_rig import open_store
from tests.harness.upstream import FakeUpstream

UNIT = Path(__file__).parents[1] / "deploy/systemd/registry-cache-cleanup.service"
WEEK = 604_800
TTL = "84h"
# Long enough for wrk's own count, short beside a dry run of a million.
WINDOW_SECONDS = 3
# So many that each worker has its share of them: with 16 one may have nearly all, and rates have two modes.
CONNECTIONS = 128
# A dry run at a low priority beside pulls without end may take very long.
LONGEST_SECONDS = 900.0


@dataclass(frozen=True)
class Way:
    """A way in which cleanups are started."""

    name: str
    command: tuple[str, ...]


def ways() -> list[Way]:
    """Cron gives its line to a shell and adds nothing; the unit's priority is read from it."""
    found = re.search(r"^Nice=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert found
    line = (str(Path(sys.executable).with_name("registry-cache")), "cleanup", "--dry-run")
    return [
        # With something behind it, so that the shell stays, as it does for a line with >/dev/null.
        Way("cron", ("/bin/sh", "-c", f"{shlex.join(line)} || exit")),
        Way("systemd", ("ionice", "-c", "3", "nice", "-n", found[1], *line)),
    ]


def make_store(root: Path, upstream: str, blobs: int, repositories: int) -> None:
    """Fill a store with ``blobs`` files, manifests among them, shared out over ``repositories``, used in a week."""
    store = open_store(root)
    layout = store.layout
    for two in range(256):
        os.makedirs(f"{layout.blobs}/sha256/{two:02x}", exist_ok=True)
    now = time.time()
    for number in range(repositories):
        used = now - 60 - (number * 7919 % WEEK)
        name = Repository(f"team{number // 250}/app{number}")
        names = f"{layout.repository(FullName(upstream, name))}/_blobs/sha256"
        os.makedirs(names)
        layers = []
        for part in range(blobs // repositories - 1):
            digest = Digest("sha256", hashlib.sha256(b"%d %d" % (number, part)).hexdigest())
            make_file(layout, digest, b"", used - 30)
            os.link(layout.blob(digest), f"{names}/{digest.hex}")
            layers.append(f'{{"mediaType":"a/b","digest":"{digest}","size":0}}')
        data = f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","layers":[{",".join(layers)}]}}'.encode()
        digest = Digest.of(data)
        # The folders exist already, so that nobody waits for the disk fifty thousand times.
        make_file(layout, digest, data, used)
        store.records.put_manifest(FullName(upstream, name), digest, data, parse_manifest(data, OCI_MANIFEST))
        os.utime(layout.blob(digest), (used, used))


def make_file(layout: Layout, digest: Digest, data: bytes, used: float) -> None:
    path = layout.blob(digest)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o444)
    try:
        atomic_write.write_all(descriptor, data)
        os.utime(descriptor, (used, used))
    finally:
        os.close(descriptor)


class DryRun:
    """A dry run that is running. Its output goes to a file, because nobody reads it meanwhile."""

    def __init__(self, cache: CacheServer, way: Way) -> None:
        self._output = cache.config_file.with_name("told").open("w+b")
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            way.command,
            env={**os.environ, "REGISTRY_CACHE_CONFIG": str(cache.config_file)},
            stdout=self._output,
            # As cron and systemd start it: the kernel shares the processors out among sessions first.
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def stop(self, stopped: bool) -> None:
        self._signal(signal.SIGSTOP if stopped else signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Not to the group: a command that cron's shell runs leaves it.
        for each in reversed(tree(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, number)

    def finish(self) -> tuple[float, float, float, str]:
        """Return seconds, seconds of CPU and the peak in MB of a run to its end, and what it said last."""
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self._began
        self._output.seek(0)
        told = self._output.read().decode().splitlines()
        self._output.close()
        assert self._process.returncode == 0, told[-1:]
        return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, told[-1]

    def end(self) -> None:
        if self._process.returncode is None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._output.close()


@contextlib.contextmanager
def dry_run(cache: CacheServer, way: Way) -> Iterator[DryRun]:
    run = DryRun(cache, way)
    try:
        yield run
    finally:
        run.end()


def pulls_per_second(url: str) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{WINDOW_SECONDS}s", url]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", told)
    assert rate, told
    assert not re.search("Non-2xx|Socket errors", told), told
    return float(rate[1])


def pairs(cache: CacheServer, way: Way, url: str, count: int) -> list[tuple[float, float]]:
    """Pulls a second alone and beside a dry run, in turn; one in which it ended does not count."""
    found: list[tuple[float, float]] = []
    until = time.monotonic() + LONGEST_SECONDS
    while len(found) < count and time.monotonic() < until:
        with dry_run(cache, way) as run:
            time.sleep(0.5)  # imports, which are no planning
            while len(found) < count and time.monotonic() < until:
                run.stop(True)
                alone = pulls_per_second(url)
                run.stop(False)
                beside = pulls_per_second(url)
                if not run.running:
                    break
                found.append((alone, beside))
    return found


def measure(cache: CacheServer, way: Way, url: str, given: argparse.Namespace) -> None:
    seconds, peaks, told = [], [], ""
    for _ in range(given.rounds):
        with dry_run(cache, way) as run:
            took, cpu, peak, told = run.finish()
        seconds.append(took)
        peaks.append(peak)
    print(
        f"{way.name}: cleanup --dry-run {statistics.median(seconds):.1f} s ({min(seconds):.1f} to {max(seconds):.1f}, "
        f"{cpu:.1f} s of CPU), peak {max(peaks):.0f} MB; {told}",
        flush=True,
    )
    found = pairs(cache, way, url, given.pairs)
    if not found:
        print(f"{way.name}: each dry run ended within {WINDOW_SECONDS} s, too soon to pull beside it")
        return
    shares = sorted(beside / alone for alone, beside in found)
    alone, beside = (statistics.median(each) for each in zip(*found, strict=True))
    print(
        f"{way.name}: pulls/s alone {alone:.0f}, beside a dry run {beside:.0f}; share, median of {len(found)} pairs, "
        f"{statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})",
        flush=True,
    )


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the blobs, and once each")
    parser.add_argument("--blobs", type=int)
    parser.add_argument("--repositories", type=int, help="else one for twenty blobs")
    parser.add_argument("--rounds", type=int, help="dry runs alone; else 3")
    parser.add_argument("--pairs", type=int, help="windows of pulls alone and beside; else 12")
    parser.add_argument("--folder", help="on which disk; else TMPDIR's")
    given = parser.parse_args()
    given.blobs = given.blobs or (100_000 if given.quick else 1_000_000)
    given.repositories = given.repositories or max(1, given.blobs // 20)
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.pairs = given.pairs or (2 if given.quick else 12)
    upstream = FakeUpstream()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-", dir=given.folder)))
        stack.callback(upstream.stop)
        began = time.monotonic()
        make_store(folder / "store", upstream.address, given.blobs, given.repositories)
        print(
            f"{given.blobs} blobs in {given.repositories} repositories, a manifest each, "
            f"made in {time.monotonic() - began:.0f} s",
            flush=True,
        )
        began = time.monotonic()
        # No size: the server would hold to it itself, and the planned pass find nothing.
        cache = CacheServer(folder, upstream.url, config={"proxy": {"ttl": TTL}})
        stack.callback(cache.close)
        with Puller(cache.url) as puller:
            assert puller.get("/v2/").status == 200
            print(f"start to the first answer: {time.monotonic() - began:.1f} s")
            began = time.monotonic()
            assert len(puller.get("/v2/_catalog?n=100").json()["repositories"]) == min(100, given.repositories)
            print(f"_catalog?n=100: {time.monotonic() - began:.2f} s", flush=True)
            blob = upstream.add_blob(random_bytes(4 * KiB, seed=1))
            assert puller.blob(blob, REPOSITORY).status == 200
        for way in ways():
            measure(cache, way, f"{cache.url}/v2/{REPOSITORY}/blobs/{blob}", given)


if __name__ == "__main__":
    main()
