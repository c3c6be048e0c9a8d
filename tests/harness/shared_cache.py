"""Fixtures for folders whose tests share one server, because starting one takes longer than most tests.

Each test gets it with an empty store, which makes it a new cache: no state in its memory is authoritative. What the
processes do remember are tokens and the failures of an upstream. Tests about tokens therefore start their own cache,
and after a test that logged failures the processes are replaced.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from registry_cache.store import locks
from tests.harness.content import Content
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

# Log lines of failures that a circuit breaker may have counted.
FAILURES = re.compile(r"status=(429|5\d\d)|a stale tag|resuming a download|upstream is down|uncached|asking by GET")


@pytest.fixture(scope="package")
def shared_upstream() -> Iterator[FakeUpstream]:
    server = FakeUpstream()
    yield server
    server.stop()


@contextmanager
def shared_by_many(
    upstream: FakeUpstream, folder: Path, config: Mapping[str, Any] | None = None, workers: int = 2
) -> Iterator[CacheServer]:
    """A server that many tests use one after the other, by way of `cache`."""
    server = CacheServer(folder, upstream.url, config=config, workers=workers, application="tests.harness.patient:app")
    yield server
    upstream.faults.release()
    server.stop()


@pytest.fixture(scope="package")
def shared_cache(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    with shared_by_many(shared_upstream, tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture
def upstream(shared_upstream: FakeUpstream, upstreams: list[FakeUpstream]) -> Iterator[FakeUpstream]:
    """A fake registry with no content and no faults."""
    upstreams.append(shared_upstream)
    yield shared_upstream
    if shared_upstream.stopping.is_set():
        shared_upstream.start()
    shared_upstream.reset_faults()
    # Transfers that outlived their clients must not write into the next test's store.
    shared_upstream.wait_until(lambda: all(each.done or not each.status for each in shared_upstream.exchanges))
    Content.__init__(shared_upstream)
    shared_upstream.forget()
    shared_upstream.tokens.revoke()
    problems = shared_upstream.problems[:]
    shared_upstream.problems.clear()
    assert not problems


@pytest.fixture
def cache(upstream: FakeUpstream, shared_cache: CacheServer) -> Iterator[CacheServer]:
    """The product in front of `upstream`, with two workers, the default configuration and an empty store."""
    empty(shared_cache)
    before = len(shared_cache.log_text())
    yield shared_cache
    upstream.faults.release()
    # A transfer whose clients have left or just got their answer may still be about to log something.
    _await_the_end_of_transfers(shared_cache)
    told = shared_cache.log_text()[before:]
    if FAILURES.search(told):
        shared_cache.kill_all()
        shared_cache.restart()
    assert "Traceback" not in told


@pytest.fixture
def workers(cache: CacheServer) -> Workers:
    """The workers of `cache`, one by one."""
    return Workers(cache)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=True)
    yield folder
    # Lazily: a server that has just been stopped may keep a file open a moment longer.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _await_the_end_of_transfers(cache: CacheServer) -> None:
    # Whether a lock is held, not whether its file exists: a killed process leaves the file behind.
    eventually(lambda: not any(locks.is_locked(str(path)) for path in cache.root.glob("locks/sha*/*")))


def empty(cache: CacheServer) -> None:
    """Once no transfer runs, empty the store, except for the folders that the server makes when it starts."""
    _await_the_end_of_transfers(cache)
    for kept in ("blobs/*", "repositories", "partial/*", "pieces", "locks/sha*", "upstreams", "quarantine"):
        for folder in cache.root.glob(kept):
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
