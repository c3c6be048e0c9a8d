"""A process may die at any moment: what it had fetched is not fetched again, and nobody gets a wrong byte."""

from tests.harness.content import APP, digest_of
from tests.harness.images import MiB, random_bytes
from tests.harness.pullers import Pull, Puller
from tests.harness.server import CacheServer, await_death
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

SIZE, HELD_AT = 8 * MiB, 5 * MiB


def start(puller: Puller, workers: Workers, worker: int, blob: str, count: int = 1) -> list[Pull]:
    """Pulls by way of one worker that have everything up to the upstream's pause when this returns."""
    with workers.only(worker):
        pulls = [puller.start_blob(APP, blob) for _ in range(count)]
        for pull in pulls:
            pull.wait_for(HELD_AT - 1)
    return pulls


def resumed_at(upstream: FakeUpstream, blob: str) -> list[str | None]:
    """The Range of each request for the blob."""
    return [each.headers["Range"] for each in upstream.asked("GET", blob)]


def test_followers_finish_what_a_killed_leader_began(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="leader dies"))
    upstream.faults.hold_at = HELD_AT
    led = start(puller, workers, workers.first, blob)
    followers = start(puller, workers, workers.second, blob, 6)

    upstream.hold_no_more()
    cache.kill_worker(workers.first)

    assert [follower.finish().digest for follower in followers] == [blob] * 6
    assert not led[0].finish().complete
    assert resumed_at(upstream, blob) == [None, f"bytes={HELD_AT}-"]
    assert upstream.bytes_sent(blob) <= 1.2 * SIZE
    assert puller.blob(blob).headers["X-Cache"] == "hit"


def test_a_killed_follower_costs_its_own_clients_alone(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="follower dies"))
    upstream.faults.hold_at = HELD_AT
    led = start(puller, workers, workers.first, blob, 2)
    followers = start(puller, workers, workers.second, blob, 2)

    cache.kill_worker(workers.second)
    upstream.faults.gate.set()

    assert [pull.finish().digest for pull in led] == [blob] * 2
    assert not any(pull.finish().complete for pull in followers)
    assert (upstream.gets(blob), upstream.bytes_sent(blob)) == (1, SIZE)


def test_when_the_master_is_killed_its_workers_finish_what_they_began(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="master dies"))
    upstream.faults.hold_at = HELD_AT
    led = start(puller, workers, workers.first, blob)
    followers = start(puller, workers, workers.second, blob, 3)

    orphans = cache.kill_master()
    # They take no new connection: a new server can have the address while they still send.
    eventually(lambda: cache.log_text().count("the master is gone: finishing what was begun") == 2)
    upstream.faults.gate.set()

    assert [pull.finish().digest for pull in (*led, *followers)] == [blob] * 4
    for worker in orphans:
        await_death(worker)
    cache.start()
    assert puller.blob(blob).headers["X-Cache"] == "hit"


def test_the_next_pull_resumes_what_nobody_waited_for(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="orphan"))
    upstream.faults.hold_at = HELD_AT
    start(puller, workers, workers.first, blob)
    cache.kill_worker(workers.first)
    upstream.hold_no_more()

    assert digest_of(puller.blob(blob).body) == blob
    assert resumed_at(upstream, blob) == [None, f"bytes={HELD_AT}-"]
    assert upstream.bytes_sent(blob) <= 1.2 * SIZE


def test_after_a_power_cut_the_next_pull_resumes(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="power cut"))
    upstream.faults.hold_at = HELD_AT
    pulls = start(puller, workers, workers.first, blob) + start(puller, workers, workers.second, blob)
    cache.kill_all()
    upstream.hold_no_more()
    cache.restart()

    assert digest_of(puller.blob(blob).body) == blob
    assert not any(pull.finish().complete for pull in pulls)
    assert resumed_at(upstream, blob) == [None, f"bytes={HELD_AT}-"]
    assert upstream.bytes_sent(blob) <= 1.2 * SIZE


def test_an_upstream_without_ranges_is_read_anew_and_the_clients_do_not_notice(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(SIZE, seed="no ranges"))
    upstream.faults.hold_at, upstream.faults.no_range = HELD_AT, True
    start(puller, workers, workers.first, blob)
    followers = start(puller, workers, workers.second, blob, 2)
    upstream.hold_no_more()
    cache.kill_worker(workers.first)
    assert [follower.finish().digest for follower in followers] == [blob] * 2
