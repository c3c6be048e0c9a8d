"""Any order of pulls and faults on three nodes, each with a store of its own: right bytes or a clear error."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut
from tests.harness.images import random_bytes
from tests.harness.near_rig import NearNode, three_nodes
from tests.harness.redis_server import RedisServer
from tests.harness.running import running
from tests.harness.store_rig import HUB_APP
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

SIZE = 150_000
NODE = st.integers(0, 2)
PULL = st.tuples(st.just("pull"), NODE)
# What hides nodes from each other: whatever happens, each of them has the blob by one transfer.
APART = st.tuples(st.sampled_from(["no redis", "redis", "lost", "found", "forget", "join"]), NODE)
# What spoils a transfer, or takes a blob away.
SPOILT = st.tuples(st.sampled_from(["cut", "flip", "refuse", "evict"]), NODE)

_seeds = itertools.count()


class Site:
    """Three nodes and one blob."""

    def __init__(self, server: RedisServer, upstream: FakeUpstream, folder: Path) -> None:
        self.data = random_bytes(SIZE, seed=f"program {next(_seeds)}")
        self.server, self.upstream = server, upstream
        self.digest = Digest.parse(upstream.add_blob(self.data))
        self.nodes = three_nodes(folder, server, upstream.url)
        self.pool = ThreadPoolExecutor(8)
        self.pulls: list[Future[bytes]] = []

    @property
    def sent(self) -> int:
        return self.upstream.bytes_sent(str(self.digest))

    def do(self, word: str, node: NearNode) -> None:
        faults = self.upstream.faults
        match word:
            case "pull":
                self.pulls.append(self.pool.submit(node.blob, self.digest))
            case "no redis" | "redis":
                node.redis.is_away = word == "no redis"
            case "lost" | "found":
                node.is_lost = word == "lost"
            case "forget":
                # All but the epoch: who finds that missing waits for three seconds.
                self.server.ask("DEL", f"rc:1:lead:{self.digest}", f"rc:1:have:{self.digest}")
            case "join":
                self.join()
            case "cut":
                faults.cut_after = [SIZE // 3]
            case "flip":
                faults.corrupt_at, faults.corrupt_times = SIZE // 2, 1
            case "refuse":
                faults.answer("/blobs/", 503, times=1)
            case "evict":
                layout = node.store.layout
                for path in (layout.membership(HUB_APP, self.digest), layout.blob(self.digest)):
                    Path(path).unlink(missing_ok=True)

    def join(self) -> None:
        """Let all pulls end, each with what is right or with an error."""
        for pull in self.pulls:
            error = pull.exception(60)
            assert error is None or isinstance(error, RegistryError | Cut), repr(error)
            assert error is not None or pull.result() == self.data
        self.pulls.clear()

    def mend(self) -> None:
        self.upstream.reset_faults()
        for node in self.nodes:
            node.redis.is_away = node.is_lost = False

    def is_everywhere(self) -> bool:
        for node in self.nodes:
            self.pulls.append(self.pool.submit(node.blob, self.digest))
        failed = [pull for pull in self.pulls if pull.exception(60)]
        self.join()
        return not failed

    def close(self) -> None:
        self.pool.shutdown()
        for node in self.nodes:
            node.close()


@pytest.fixture(scope="module")
def registry() -> Iterator[FakeUpstream]:
    with running(FakeUpstream()) as started:
        yield started


def play(server: RedisServer, registry: FakeUpstream, program: list[tuple[str, int]]) -> int:
    """Return how many bytes the registry sent until all nodes had the blob."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(server, registry, Path(folder))
        try:
            for word, number in program:
                site.do(word, site.nodes[number])
            site.join()
            site.mend()
            eventually(site.is_everywhere)
            assert [node.store.wrong_blobs() for node in site.nodes] == [[]] * 3
            return site.sent
        finally:
            site.mend()
            site.close()


@settings(max_examples=6)
@given(st.lists(PULL, max_size=8))
def test_without_faults_each_byte_is_sent_once(
    server: RedisServer, registry: FakeUpstream, program: list[tuple[str, int]]
) -> None:
    assert play(server, registry, program) == SIZE


@settings(max_examples=15)
@given(st.lists(PULL | APART, max_size=12))
def test_nodes_that_lose_sight_of_each_other_cost_a_transfer_each_at_most(
    server: RedisServer, registry: FakeUpstream, program: list[tuple[str, int]]
) -> None:
    assert SIZE <= play(server, registry, program) <= 3 * SIZE


@settings(max_examples=20)
@given(st.lists(PULL | APART | SPOILT, max_size=12))
def test_whatever_happens_bytes_are_right(
    server: RedisServer, registry: FakeUpstream, program: list[tuple[str, int]]
) -> None:
    spoilt = sum(word in ("cut", "flip", "refuse", "evict") for word, _ in program)
    assert SIZE <= play(server, registry, program) <= 3 * SIZE * (1 + spoilt)
