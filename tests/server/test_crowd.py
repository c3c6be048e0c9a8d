"""Whoever asks for little passes a crowd that comes for a blob."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.harness.content import APP
from tests.harness.pullers import Puller
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Request, stopped

CROWD = 300


@pytest.fixture
def alone(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    """A cache of one worker, which has all of the crowd."""
    with running_cache(tmp_path_factory.mktemp("alone"), upstream, workers=1) as server:
        yield server


def test_a_ping_is_not_the_last_to_be_answered(alone: CacheServer, upstream: FakeUpstream) -> None:
    path = f"/v2/{APP}/blobs/{upstream.add_blob(b'wanted by all')}"
    with Puller(alone.url) as puller:
        assert puller.get(path).status == 200
    (worker,) = alone.workers()

    os.kill(worker, signal.SIGSTOP)
    try:
        eventually(lambda: stopped(worker))
        crowd = [Request(alone.address, path) for _ in range(CROWD)]
        ping = Request(alone.address, "/v2/")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert ping.answer().status == 200
    assert [each.answer().body for each in crowd] == [b"wanted by all"] * CROWD

    # A line is written behind its answer's last byte.
    eventually(lambda: len(_answered(alone)) == 1 + CROWD + 1)
    assert _answered(alone).index("/v2/") < CROWD // 2


def _answered(cache: CacheServer) -> list[str]:
    """The paths of requests in the log, none for a blob's, in their order."""
    return re.findall(r" request .*(?: path=(\S+)| reference=sha256)", cache.log_text())
