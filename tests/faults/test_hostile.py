"""What hostile upstreams and clients do to a worker: others must not wait for it, nor must its memory grow."""

from __future__ import annotations

import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_cache.api.held_bodies import MAX_HELD
from registry_cache.pull.listing import MAX_LISTS
from registry_cache.pull.transfer.abandoned import MAX_PER_CLIENT
from registry_cache.upstream.client import MAX_REFERRERS_SIZE
from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, random_bytes
from tests.harness.raw_client import connect
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import SECONDS, eventually
from tests.harness.watchdog import LONGEST_SECONDS, WATCHED, Watchdog

MAX_MEMORY = 200 * MiB


@pytest.fixture
def cache(make_cache: MakeCache) -> CacheServer:
    return make_cache(workers=1, application=WATCHED)


def memory(cache: CacheServer) -> int:
    """How many bytes its only worker has."""
    return cache.rss(cache.workers()[0])


def fat_manifest(number: int) -> bytes:
    """Nearly 4 MiB, and more than forty thousand layers."""
    layers = [{"digest": f"sha256:{number * 10**6 + layer:064x}", "size": 1} for layer in range(42_000)]
    return json.dumps({"schemaVersion": 2, "layers": layers}, separators=(",", ":")).encode()


def test_fat_manifests_cost_a_missing_blob_nothing(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    puller = make_puller(cache.url)
    digests = [upstream.add_manifest(fat_manifest(number)) for number in range(8)]
    with Watchdog(cache) as bringing, ThreadPoolExecutor(8) as pool:
        assert {answer.status for answer in pool.map(puller.manifest, digests)} == {200}
    with Watchdog(cache) as missing, ThreadPoolExecutor(8) as pool:
        paths = [f"/v2/{APP}/blobs/sha256:{number:064x}" for number in range(10**9, 10**9 + 40)]
        assert {answer.status for answer in pool.map(puller.get, paths)} == {404}
    assert bringing.longest < LONGEST_SECONDS, bringing.where
    assert missing.longest < LONGEST_SECONDS, missing.where
    assert memory(cache) < MAX_MEMORY


def test_a_fat_manifest_is_no_hint_and_a_plain_one_is(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    """Its blobs are pulled all the same."""
    puller = make_puller(cache.url)
    blob = upstream.add_blob(b"a layer")
    layers = [{"digest": blob, "size": 7}, *({"digest": f"sha256:{n:064x}", "size": 1} for n in range(42_000))]
    fat = json.dumps({"layers": layers}, separators=(",", ":")).encode()
    assert puller.manifest(upstream.add_manifest(fat)).status == 200
    assert puller.blob(blob).body == b"a layer"


def test_lists_of_eight_mib_are_asked_for_few_at_a_time(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    puller = make_puller(cache.url)
    tags = json.dumps({"tags": [f"t{number:09d}" for number in range(500_000)]}).encode()
    upstream.faults.answer("tags/list", 200, tags)
    paths = [f"/v2/library/app{number}/tags/list?n=1" for number in range(30)]
    with ThreadPoolExecutor(len(paths)) as pool:
        answers = list(pool.map(puller.get, paths))
    # Who has waited for long enough: a mirror's client is told of any limit by 503, and goes to the registry.
    refused = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.json()["errors"][0]["code"]) for answer in refused} <= {(503, "UNAVAILABLE")}
    assert [answer.status for answer in answers].count(200) >= MAX_LISTS
    assert memory(cache) < MAX_MEMORY


def test_an_upstream_that_falls_silent_in_the_middle_of_many_blobs_holds_little(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    """What has come is on the disk. Up to a megabyte of each was kept until it was hashed."""
    assert make_puller(cache.url).get("/v2/").status == 200  # the worker has loaded what it needs to serve
    come = upstream.faults.hold_at = 1_000_000
    blobs = [upstream.add_blob(random_bytes(1 * MiB, seed=number)) for number in range(120)]
    before = memory(cache)
    with contextlib.ExitStack() as stack:
        for blob in blobs:
            client = stack.enter_context(connect(cache.address))
            client.sendall(f"GET /v2/{APP}/blobs/{blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

        def have_come() -> bool:
            sizes = [each.stat().st_size for each in cache.root.glob("partial/*/*") if "." not in each.name]
            return len(sizes) == len(blobs) and min(sizes) >= come

        eventually(have_come)
        assert memory(cache) - before < len(blobs) * MiB / 2
    # Their clients have left: of one address a few go on in each worker, and the others do not wait for upstream.
    most = MAX_PER_CLIENT * len(cache.workers())
    eventually(lambda: sum(each.alive for each in upstream.exchanges) <= most)
    upstream.faults.release()


def test_who_asks_for_long_lists_and_reads_nothing_holds_little(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    """Each list of theirs had eight megabytes of the worker, or sixteen, for a minute."""
    upstream.faults.answer("tags/list", 200, json.dumps({"tags": [f"t{n:09d}" for n in range(500_000)]}).encode())
    host, port = cache.address.split(":")
    with contextlib.ExitStack() as stack:

        def stall(number: int) -> bytes:
            source = (f"127.0.1.{1 + number // 2}", 0)
            client = stack.enter_context(socket.create_connection((host, int(port)), SECONDS, source))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(f"GET /v2/library/app{number}/tags/list HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return client.recv(len(b"HTTP/1.1 200"))

        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(stall, range(24)))
        assert set(answers) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        # Each has more than 6 MiB.
        assert 0 < answers.count(b"HTTP/1.1 200") * 6 * MiB < MAX_HELD
        assert memory(cache) < MAX_MEMORY
        small = make_puller(cache.url).get("/v2/library/app0/tags/list?n=10")
        assert (small.status, len(small.json()["tags"])) == (200, 10)


def test_pages_of_referrers_of_a_digest_that_nobody_has(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    puller = make_puller(cache.url)
    page = json.dumps({"manifests": [{"note": "x" * 1000}] * 2000}).encode()
    path = f"/v2/{APP}/referrers/sha256:{0:064x}"
    for number in range(100):
        upstream.faults.answer("/referrers/", 200, page, times=1, Link=f'<{path}?last={number}>; rel="next"')
    answer = puller.get(path)
    assert answer.status == 200
    assert len(answer.body) < MAX_REFERRERS_SIZE + len(page)
    assert sum("/referrers/" in each.path for each in upstream.exchanges) <= 3
    assert not list(cache.root.rglob("_referrers/*/*"))
    assert memory(cache) < MAX_MEMORY


def test_who_asks_for_a_fat_manifest_and_reads_nothing_holds_no_memory(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    """A hit is sent from its file. Each of them had four megabytes of the worker."""
    puller = make_puller(cache.url)
    digest = upstream.add_manifest(fat_manifest(1))
    assert puller.manifest(digest).status == 200
    before = memory(cache)
    with contextlib.ExitStack() as stack, Watchdog(cache) as others:
        for _ in range(100):
            stalled = stack.enter_context(socket.socket())
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(("127.0.0.1", int(cache.address.rpartition(":")[2])))
            stalled.sendall(f"GET /v2/{APP}/manifests/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert stalled.recv(1)
        assert memory(cache) - before < 40 * MiB
    assert others.longest < LONGEST_SECONDS, others.where
    answer = puller.manifest(digest)
    assert (digest_of(answer.body), answer.headers["X-Cache"]) == (digest, "hit")


def test_fat_manifests_are_fetched_few_at_a_time(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    puller = make_puller(cache.url)
    digests = [upstream.add_manifest(b" " * 4_000_000 + b"{%d:0}" % number) for number in range(40)]
    with ThreadPoolExecutor(40) as pool:
        statuses = {answer.status for answer in pool.map(puller.manifest, digests)}
    assert statuses <= {200, 429, 503}
    assert memory(cache) < MAX_MEMORY
