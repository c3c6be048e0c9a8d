"""Docker Hub counts manifest GETs: what is cached costs none, what is not costs one, what is refused is not asked."""

from __future__ import annotations

import re

import pytest

from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, make_image, make_index
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.story import Story
from tests.harness.telling import code, message, told, within
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

COLD = "/v2/library/cold/manifests/1"


def counted(upstream: FakeUpstream) -> int:
    """Manifest GETs that reached upstream, refused or not."""
    return len(upstream.requests("GET", "/manifests/"))


def test_twenty_pulls_by_tag_of_a_cached_image_cost_no_counted_pull(story: Story) -> None:
    image = make_image(story.upstream, tag="1", layer_size=1 * KiB, seed=101)
    story.upstream.faults.rate_limit = 1
    assert story.manifest("1").status == 200
    for blob in image.blobs:
        assert story.start_blob(blob).finish().digest == blob
    assert story.upstream.counted_pulls == 1
    story.upstream.forget()

    for _ in range(20):
        assert told(story.puller.head(f"/v2/{story.app}/manifests/1")) == (200, "revalidated", image.digest)
        assert told(story.manifest("1")) == (200, "revalidated", image.digest)
        assert told(story.manifest(image.digest)) == (200, "hit", image.digest)
        assert all(story.blob(blob).headers["X-Cache"] == "hit" for blob in image.blobs)

    assert counted(story.upstream) == 0
    assert len(story.upstream.exchanges) == story.upstream.heads("1") == 40


def test_a_cold_image_costs_exactly_one_and_one_of_many_platforms_two(story: Story) -> None:
    story.upstream.faults.rate_limit = 100
    image = make_image(story.upstream, tag="1", layer_size=1 * KiB, seed=102)
    story.puller.head(f"/v2/{story.app}/manifests/1")
    story.manifest("1")
    story.manifest(image.digest)
    for blob in image.blobs:
        story.blob(blob)
    assert story.upstream.counted_pulls == counted(story.upstream) == 1

    index = make_index(story.upstream, tag="2", layer_size=1 * KiB, seed=103)
    story.manifest("2")
    story.manifest(index.images[0].digest)
    assert story.upstream.counted_pulls == counted(story.upstream) == 3


def test_when_a_tag_has_moved_beyond_the_limit_the_old_image_is_served_with_a_warning(story: Story) -> None:
    old = make_image(story.upstream, tag="1", seed=104)
    story.upstream.faults.rate_limit, story.upstream.faults.retry_after = 1, "2480"
    story.manifest("1")
    make_image(story.upstream, tag="1", seed=105)
    for _ in range(3):
        answer = story.manifest("1")
        assert told(answer) == (200, "stale", old.digest)
        assert answer.body == old.manifest
        assert re.fullmatch(
            rf'299 - "{story.name} limits this cache: 0 of 1 pulls left in 6 h, counted for 127.0.0.1; '
            r'.*try again in 41 min"',
            answer.headers["Warning"],
        )
    assert counted(story.upstream) == 2


def test_a_limit_on_everything_serves_what_is_here_without_asking(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=106)
    story.manifest("1")
    story.upstream.faults.answer("/v2/", 429, Retry_After="620")
    assert told(story.manifest("1")) == (200, "stale", image.digest)
    story.upstream.forget()
    for _ in range(5):
        answer = story.manifest("1")
        assert told(answer) == (200, "stale", image.digest)
        assert answer.headers["Warning"] == f'299 - "{story.name} limits this cache; try again in 10 min"'
    cold = story.puller.get(f"/v2/{story.name}{COLD[3:]}")
    assert code(cold) == (429, "TOOMANYREQUESTS")
    assert 570 <= int(cold.headers["Retry-After"]) <= 620
    assert story.upstream.exchanges == []


def test_what_is_not_here_gets_an_honest_429_and_is_not_asked_for_again(story: Story) -> None:
    make_image(story.upstream, tag="1", seed=107)
    story.upstream.faults.rate_limit, story.upstream.faults.retry_after = 0, "2480"
    answer = story.manifest("1")
    assert code(answer) == (429, "TOOMANYREQUESTS")
    assert 2430 <= int(answer.headers["Retry-After"]) <= 2480
    assert message(answer) == (
        f"{story.name} limits this cache: 0 of 0 pulls left in 6 h, counted for 127.0.0.1; "
        "no cached copy; try again in 41 min"
    )
    for _ in range(5):
        with within(5):
            assert code(story.manifest("1")) == (429, "TOOMANYREQUESTS")
    assert counted(story.upstream) == 1


def test_a_retry_after_may_be_a_date_and_when_it_is_over_we_ask(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=108)
    story.upstream.faults.answer("GET .*/manifests/", 429, times=1, Retry_After="Sun, 06 Nov 1994 08:49:37 GMT")
    assert code(story.manifest("1")) == (429, "TOOMANYREQUESTS")
    # That date is over: the next one is asked for.
    story.upstream.faults.answer("GET .*/manifests/", 429, times=1, Retry_After="1")
    assert code(story.manifest("1")) == (429, "TOOMANYREQUESTS")
    assert counted(story.upstream) == 2
    eventually(lambda: told(story.manifest("1"))[::2] == (200, image.digest))


def test_a_limited_token_server_is_the_same(story: Story) -> None:
    image = make_image(story.upstream, tag="1", seed=109)
    story.manifest("1")
    story.upstream.faults.require_token = True
    story.upstream.faults.answer("GET /token", 429, Retry_After="300")
    assert told(story.manifest("1")) == (200, "stale", image.digest)
    story.upstream.forget()
    for _ in range(5):
        assert told(story.manifest("1")) == (200, "stale", image.digest)
        cold = story.puller.get(f"/v2/{story.name}{COLD[3:]}")
        assert code(cold) == (429, "TOOMANYREQUESTS")
        assert 1 < int(cold.headers["Retry-After"]) <= 300
    assert story.upstream.exchanges == []


def test_few_pulls_left_are_logged_once(story: Story) -> None:
    story.upstream.faults.rate_limit = 9
    for number in range(8):
        make_image(story.upstream, tag=str(number), layer_size=10, layers=1, seed=200 + number)
        assert story.manifest(str(number)).status == 200
        warned = story.log().count(f"upstream's rate limit is nearly used up upstream={story.name}")
        assert warned == (9 - number - 1 < 9 / 4)
    assert "2 of 9 pulls left in 6 h, counted for 127.0.0.1" in story.log()


def test_what_one_worker_was_refused_the_other_does_not_ask(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    workers = Workers(cache)
    warm = make_image(upstream, tag="1", seed=110)
    make_image(upstream, "library/cold", tag="1", seed=111)
    puller.manifest("1")
    upstream.faults.rate_limit, upstream.faults.retry_after = 0, "600"
    (refused,) = workers.send(workers.first, COLD)
    assert code(refused.answer()) == (503, "UNAVAILABLE")
    upstream.forget()

    for worker in (workers.first, workers.second):
        (cold,) = workers.send(worker, COLD)
        assert code(cold.answer()) == (503, "UNAVAILABLE")
        (here,) = workers.send(worker, f"/v2/{APP}/manifests/1")
        assert told(here.answer()) == (200, "revalidated", warm.digest)
    assert counted(upstream) == 0


@pytest.mark.parametrize(
    "before", [{}, {"username": "me", "password": "mistyped"}, {"username": "you", "password": "yours"}]
)
def test_a_limit_is_the_accounts_that_met_it(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, before: dict[str, str]
) -> None:
    """Whoever gives the mirror an account of its own limit is not to wait for six hours all the same."""
    image = make_image(upstream, tag="1", seed=113)
    upstream.faults.require_token, upstream.faults.users = True, {"me": "secret", "you": "yours"}
    limited = make_cache({"proxy": before}, workers=1)
    upstream.faults.rate_limit, upstream.faults.retry_after = 0, "21600"
    with make_puller(limited.url) as puller:
        assert code(puller.manifest("1")) == (503, "UNAVAILABLE")
        upstream.faults.rate_limit = None
        assert code(puller.manifest("1")) == (503, "UNAVAILABLE")
    assert counted(upstream) == 1
    assert "limited" in limited.run("status").stdout

    cache = make_cache({"proxy": {"username": "me", "password": "secret"}}, root=limited.root, workers=1)
    assert told(make_puller(cache.url).manifest("1")) == (200, "miss", image.digest)
    notes = "".join(path.read_text() for path in limited.root.glob("upstreams/*"))
    assert not [secret for secret in ("mistyped", "yours", "secret") if secret in notes]


@pytest.mark.parametrize(
    ("fallback", "status", "codes"),
    [("unavailable", 503, {"UNAVAILABLE"}), ("notfound", 404, {"MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_UNKNOWN"})],
)
def test_a_mirror_may_send_its_clients_to_the_registry_instead(
    upstream: FakeUpstream,
    make_cache: MakeCache,
    make_puller: MakePuller,
    fallback: str,
    status: int,
    codes: set[str],
) -> None:
    image = make_image(upstream, tag="1", seed=112)
    cache = make_cache({"proxy": {"pull_fallback": fallback}}, workers=1)
    puller = make_puller(cache.url)
    assert puller.manifest("1").status == 200
    upstream.faults.answer("/v2/", 429, Retry_After="600")
    for path in (COLD, COLD, f"/v2/{APP}/blobs/sha256:{'0' * 64}", "/v2/library/cold/tags/list"):
        answer = puller.get(path)
        assert answer.status == status
        assert code(answer)[1] in codes
        assert "limits this cache" in message(answer)
    # What is here is served all the same.
    assert told(puller.manifest("1")) == (200, "stale", image.digest)
    assert upstream.requests("GET", "/manifests/")[1:] == []


@pytest.mark.parametrize(("form", "status"), [("{}?ns={name}", 503), ("{name}/{}", 429)])
def test_a_client_of_a_mirror_goes_on_at_once_and_one_that_names_the_registry_is_told(
    story: Story, form: str, status: int
) -> None:
    name = story.name
    story.upstream.faults.answer("/v2/", 429, Retry_After="3600")
    for rest in ("manifests/1", f"blobs/sha256:{'0' * 64}", "tags/list"):
        path = f"library/cold/{rest}"
        with within(5):
            answer = story.puller.get(f"/v2/{form.format(path, name=name)}")
        assert answer.status == status
        assert int(answer.headers["Retry-After"]) > 3500


def test_a_limit_that_was_lifted_is_noticed_by_a_free_request(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, tag="1", seed=114)
    cache = make_cache(workers=1)
    puller = make_puller(cache.url)
    upstream.faults.rate_limit, upstream.faults.retry_after = 0, "3600"
    assert puller.manifest("1").status == 503
    upstream.faults.rate_limit = 9

    # The HEAD of the next pull by tag tells how many are left.
    assert told(puller.manifest("1")) == (200, "miss", image.digest)
    assert counted(upstream) == 2


def test_check_forgets_a_limit_that_is_over(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, tag="1", seed=115)
    cache = make_cache(workers=1)
    puller = make_puller(cache.url)
    upstream.faults.answer("/v2/", 429, Retry_After="3600", times=1)
    assert puller.manifest("1").status == 503
    assert puller.manifest("1").status == 503

    assert "the server asks it from now on" in cache.run("check", f"{APP}:1").stdout
    assert told(puller.manifest("1")) == (200, "miss", image.digest)
