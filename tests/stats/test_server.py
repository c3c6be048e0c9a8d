"""What a server with two workers has counted, after a stop, a kill and a restart."""

from __future__ import annotations

import time

from registry_cache.stats.recorder import WRITE_SECONDS
from registry_cache.stats.statistics import Statistics
from registry_cache.store.layout import Layout
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_image, random_bytes
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually


def numbers(server: CacheServer) -> Statistics:
    return Statistics(Layout(server.root))


def test_every_request_and_byte_is_there_after_a_stop(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    began = time.time() - 1
    blob = upstream.add_blob(random_bytes(300_000, seed="numbers"))
    image = make_image(upstream, layers=1)
    server = make_cache()
    for _ in range(5):
        # A connection each: both workers have a part.
        puller = make_puller(server.url)
        assert puller.get(f"/v2/{APP}/blobs/{blob}").status == 200
        assert puller.get(f"/v2/{APP}/manifests/1").status == 200
    assert make_puller(server.url).get(f"/v2/{APP}/manifests/none").status == 404
    assert b"\nregistry_cache_clients_gone 0.0\n" in make_puller(server.url).get("/metrics").body
    server.restart()

    statistics, name = numbers(server), server_name(upstream)
    sums = statistics.sums(began)
    size = len(image.manifest)
    assert sums.requests == {"miss": 2, "hit": 4, "revalidated": 4, "none": 1}
    assert (sums.served["miss"], sums.served["hit"]) == (300_000 + size, 4 * 300_000)
    assert (sums.saved_bytes, sums.fetched) == (4 * (300_000 + size), {name: 300_000 + size})
    assert (sums.pulls, sums.clients, sums.errors["ManifestUnknown"]) == (5, 1, 1)
    assert sums.counted == {f"{name} anonymous": 1}
    assert sums.disk is not None
    assert sums.disk.free > 0
    assert [(each.name, each.at_least) for each in statistics.top("saved", began)] == [
        (f"{name}/{APP}", sums.saved_bytes)
    ]
    assert [(each.name, each.at_most) for each in statistics.top("clients", began)] == [("127.0.0.1", 5)]
    assert len(statistics.pulls(APP)) == 5


def test_a_kill_of_all_processes_loses_only_what_was_not_written_yet(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    # A kill loses what was not written yet: less than half of the minute that is allowed.
    assert WRITE_SECONDS <= 20
    server = make_cache(application="tests.harness.hasty_statistics:app")
    sizes = [1000, 20_000, 400_000]
    early, late, after = (f"/v2/{APP}/blobs/{upstream.add_blob(random_bytes(size))}" for size in sizes)
    for _ in range(3):
        assert make_puller(server.url).get(early).status == 200

    def served() -> int:
        return numbers(server).sums(0).served_bytes

    eventually(lambda: served() == 3 * 1000)
    assert make_puller(server.url).get(late).status == 200
    server.kill_all()
    server.restart()
    assert make_puller(server.url).get(after).status == 200
    server.restart()
    assert served() in (3 * 1000 + 400_000, 3 * 1000 + 20_000 + 400_000)


def server_name(upstream: FakeUpstream) -> str:
    return upstream.url.removeprefix("http://")
