"""A stored blob that the disk does not give any more: who reads it gets all of it, and it is kept anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness.bad_sectors import ATTRIBUTE
from tests.harness.content import APP, digest_of
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.running import running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

SAID = "evicted a blob that the disk does not give"


@pytest.fixture(scope="module")
def failing(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    """A cache of all these stories, each of which has bytes of its own."""
    folder = tmp_path_factory.mktemp("failing")
    with running_cache(folder, shared_upstream, application="tests.api.unreadable:app") as server:
        yield server


@pytest.fixture
def client(failing: CacheServer) -> Iterator[Puller]:
    with Puller(failing.url) as puller:
        yield puller


@pytest.fixture
def log(failing: CacheServer) -> Callable[[], str]:
    """What the server has logged since this story began."""
    begin = len(failing.log_text())
    return lambda: failing.log_text()[begin:]


def lose(path: Path, offset: int) -> None:
    # Only their owner may mark them, and only while they can be written; root may always.
    path.chmod(0o644)
    os.setxattr(path, ATTRIBUTE, b"%d" % offset)
    path.chmod(0o444)


@pytest.mark.parametrize("size", [10 * KiB, 3 * MiB])
@pytest.mark.parametrize("lost", [0, 5_000])
def test_it_is_sent_whole_and_kept_anew(
    upstream: FakeUpstream, failing: CacheServer, client: Puller, log: Callable[[], str], size: int, lost: int
) -> None:
    data = random_bytes(size, seed=size + lost)
    digest = upstream.add_blob(data)
    path = failing.blob_file(digest)
    assert client.blob(digest).body == data
    lose(path, lost)

    answer = client.blob(digest)

    assert (answer.status, answer.body) == (200, data)
    assert upstream.gets(digest) == 2
    assert client.blob(digest).headers["X-Cache"] == "hit"
    assert log().count(SAID) == 1
    assert "Traceback" not in log()


def test_a_range_of_it_is_right(upstream: FakeUpstream, failing: CacheServer, client: Puller) -> None:
    data = random_bytes(3 * MiB, seed=9)
    digest = upstream.add_blob(data)
    assert client.blob(digest).body == data
    lose(failing.blob_file(digest), 2 * MiB)

    answer = client.get(f"/v2/{APP}/blobs/{digest}", {"Range": f"bytes={MiB}-{3 * MiB - 2}"})

    assert (answer.status, answer.body) == (206, data[MiB : 3 * MiB - 1])


def test_a_crowd_costs_one_transfer(
    upstream: FakeUpstream, failing: CacheServer, client: Puller, log: Callable[[], str]
) -> None:
    data = random_bytes(3 * MiB, seed=10)
    digest = upstream.add_blob(data)
    assert client.blob(digest).body == data
    lose(failing.blob_file(digest), MiB)

    def pull(_: int) -> str:
        with Puller(failing.url) as puller:
            return digest_of(puller.blob(digest).body)

    with ThreadPoolExecutor(12) as clients:
        assert {*clients.map(pull, range(12))} == {digest}
    assert upstream.gets(digest) == 2
    assert log().count(SAID) == 1


def test_where_the_registry_is_gone_too_the_client_is_cut(
    upstream: FakeUpstream, failing: CacheServer, client: Puller, log: Callable[[], str]
) -> None:
    data = random_bytes(3 * MiB, seed=11)
    digest = upstream.add_blob(data)
    assert client.blob(digest).body == data
    lose(failing.blob_file(digest), MiB)
    upstream.faults.status = 503

    pull = client.start_blob(APP, digest).finish()

    assert (pull.status, pull.complete, pull.size) == (200, False, MiB)
    assert "Traceback" not in log()
