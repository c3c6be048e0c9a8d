"""Tags follow the upstream: every pull asks it, cheaply; when it does not answer, what we have is served as stale."""

from urllib.parse import urlsplit

import pytest

from registry_cache.oci.pattern import ImagePattern
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pin, Pins
from tests.harness.content import APP, OCI_MANIFEST
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_image
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.telling import code, told
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

LATEST = f"/v2/{APP}/manifests/latest"


def test_an_unchanged_tag_costs_a_head_and_no_counted_pull(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, tag="latest")
    assert told(puller.manifest("latest")) == (200, "miss", image.digest)
    upstream.forget()

    again = puller.manifest("latest")

    assert told(again) == (200, "revalidated", image.digest)
    assert again.body == image.manifest
    assert [(each.method, each.name) for each in upstream.exchanges] == [("HEAD", "latest")]
    assert upstream.counted_pulls == 0


def test_a_silent_upstream_is_waited_for_for_as_long_as_the_operator_says(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache({"proxy": {"tag_timeout": "300ms"}}).url)
    image = make_image(upstream, tag="latest")
    puller.manifest("latest")
    upstream.faults.hold_before = "HEAD .*/manifests/latest"

    answer = puller.manifest("latest")

    assert told(answer) == (200, "stale", image.digest)
    assert answer.body == image.manifest
    assert "no answer in 0." in answer.headers["Warning"]


def test_while_it_is_down_no_pull_of_either_worker_waits_for_the_probe(
    upstream: FakeUpstream, puller: Puller, workers: Workers
) -> None:
    image = make_image(upstream, tag="latest")
    puller.manifest("latest")
    upstream.faults.status = 503
    for worker in (workers.first, workers.second):
        for _ in range(3):
            (request,) = workers.send(worker, LATEST)
            assert told(request.answer()) == (200, "stale", image.digest)
    upstream.faults.status, upstream.faults.hold_before = None, "HEAD .*/manifests/latest"
    upstream.forget()
    eventually(lambda: told(puller.manifest("latest"))[1] == "stale" and upstream.heads("latest"))

    for worker in (workers.first, workers.second):
        for request in workers.send(worker, LATEST, count=5):
            answer = request.answer()
            assert told(answer) == (200, "stale", image.digest)
            # Who had waited would say for how long.
            assert "has been failing for" in (answer.headers["Warning"] or "")
    assert upstream.heads("latest") == 1
    upstream.faults.gate.set()
    for worker in (workers.first, workers.second):
        eventually(lambda worker=worker: told(workers.send(worker, LATEST)[0].answer())[1] == "revalidated")  # type: ignore[misc]


def test_a_pinned_image_is_pulled_after_upstream_deleted_it(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image = make_image(upstream, tag="latest", layers=1)
    for path in (LATEST, f"/v2/{APP}/blobs/{image.layers[0]}", f"/v2/{APP}/blobs/{image.config}"):
        assert puller.get(path).status == 200
    Pins(Layout(cache.root)).add([Pin(urlsplit(upstream.url).netloc, ImagePattern.parse(f"{APP}:latest"))])
    upstream.faults.status = 404

    answer = puller.manifest("latest")
    assert told(answer) == (200, "stale", image.digest)
    assert "pinned" in answer.headers["Warning"]
    assert int(answer.headers["Age"]) >= 0
    assert told(puller.head(LATEST)) == (200, "stale", image.digest)
    for path in (f"manifests/{image.digest}", f"blobs/{image.layers[0]}", f"blobs/{image.config}"):
        found = puller.get(f"/v2/{APP}/{path}")
        assert (found.status, found.headers["X-Cache"]) == (200, "hit")


@pytest.mark.parametrize("trouble", ["down", "500", "503", "429"])
def test_without_an_answer_what_we_have_is_served_as_stale(
    upstream: FakeUpstream, puller: Puller, trouble: str
) -> None:
    image = make_image(upstream, tag="latest")
    puller.manifest("latest")
    if trouble == "down":
        upstream.stop()
    else:
        upstream.faults.answer("/manifests/", int(trouble))

    answer = puller.manifest("latest")

    assert told(answer) == (200, "stale", image.digest)
    assert answer.body == image.manifest
    assert answer.headers["Warning"].startswith('299 - "')
    assert 0 <= int(answer.headers["Age"]) < 60

    by_digest = puller.manifest(image.digest)
    assert told(by_digest) == (200, "hit", image.digest)
    assert by_digest.headers["Warning"] is None


def test_without_an_answer_and_without_a_copy_the_error_is_honest(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, tag="latest")
    upstream.stop()
    for path in (LATEST, f"/v2/{APP}/manifests/{image.digest}", f"/v2/{APP}/blobs/{image.config}"):
        answer = puller.get(path)
        assert answer.headers["Content-Type"] == "application/json"
        assert code(answer) in ((503, "UNAVAILABLE"), (504, "UNAVAILABLE"))
        assert puller.head(path).status in (503, 504)


def test_a_limit_without_a_copy_is_told_with_the_time_to_wait(upstream: FakeUpstream, puller: Puller) -> None:
    make_image(upstream, tag="latest")
    upstream.faults.rate_limit, upstream.faults.retry_after = 0, "77"
    answer = puller.manifest("latest")
    assert code(answer) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"] == "77"


def test_forty_clients_at_once_cost_one_head(upstream: FakeUpstream, puller: Puller, workers: Workers) -> None:
    image = make_image(upstream, tag="latest")
    puller.manifest("latest")
    upstream.forget()
    upstream.hang_up()
    upstream.faults.hold_before = "HEAD .*/manifests/latest"
    requests = workers.send(workers.first, LATEST, count=20)
    requests += workers.send(workers.second, LATEST, count=20)
    upstream.faults.gate.set()

    assert {told(request.answer()) for request in requests} == {(200, "revalidated", image.digest)}
    assert len(upstream.exchanges) == upstream.heads("latest") == 1


def test_forty_clients_of_a_cold_tag_cost_one_head_and_one_get(
    upstream: FakeUpstream, puller: Puller, workers: Workers
) -> None:
    image = make_image(upstream, tag="latest")
    upstream.hang_up()
    upstream.faults.hold_before = "HEAD .*/manifests/latest"
    requests = workers.send(workers.first, LATEST, count=20)
    requests += workers.send(workers.second, LATEST, count=20)
    upstream.faults.gate.set()

    assert {request.answer().body for request in requests} == {image.manifest}
    assert [(each.method, each.name) for each in upstream.exchanges] == [("HEAD", "latest"), ("GET", image.digest)]


@pytest.mark.parametrize(
    ("theirs", "ours", "tries"),
    [(404, 404, 1), (401, 403, 2), (429, 503, 1), (500, 503, 3)],  # a GET tells; what may pass is asked once more
)
def test_all_who_asked_meanwhile_learn_the_same_error(
    upstream: FakeUpstream, puller: Puller, workers: Workers, theirs: int, ours: int, tries: int
) -> None:
    upstream.faults.answer("/manifests/", theirs, Retry_After="9")
    upstream.hang_up()
    upstream.faults.hold_before = "HEAD .*/manifests/latest"
    requests = workers.send(workers.first, LATEST, count=5) + workers.send(workers.second, LATEST, count=5)
    upstream.faults.gate.set()

    answers = [request.answer() for request in requests]
    assert {answer.status for answer in answers} == {ours}
    assert {answer.headers["Retry-After"] for answer in answers} == {"9" if ours in (429, 503) else None}
    assert len(upstream.exchanges) == tries


def test_within_its_maximal_age_a_tag_is_not_asked_for(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, tag="latest")
    puller = make_puller(make_cache({"proxy": {"tag_max_age": "1h"}}).url)
    puller.manifest("latest")
    upstream.forget()
    make_image(upstream, tag="latest", seed=2)
    for _ in range(3):
        assert told(puller.manifest("latest")) == (200, "hit", image.digest)
    assert told(puller.head(LATEST)) == (200, "hit", image.digest)
    assert upstream.exchanges == []


def test_containerds_order_costs_two_heads_and_one_pull(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image = make_image(upstream, tag="latest")

    head = puller.head(LATEST)
    assert told(head) == (200, "miss", image.digest)
    assert (head.headers["Content-Type"], head.headers["Content-Length"]) == (OCI_MANIFEST, str(len(image.manifest)))
    assert (len(upstream.exchanges), upstream.counted_pulls) == (1, 0)
    assert [*cache.root.glob("blobs/*/*/*")] == []

    assert puller.manifest(image.digest).body == image.manifest
    assert upstream.counted_pulls == 1

    upstream.stop()
    stale = puller.manifest("latest")
    assert told(stale) == (200, "stale", image.digest)
    assert stale.body == image.manifest
    assert told(puller.head(LATEST)) == (200, "stale", image.digest)
