"""One download, many readers: whoever asks for a blob while it arrives reads along, and upstream sees one client."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from registry_cache.pull.source import MAX_FRUITLESS
from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Pull, Puller, Result
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers


def stored_blobs(root: Path) -> list[str]:
    """The hex digests of what is under blobs/."""
    return [path.name for path in root.glob("blobs/*/*/*")]


def leading(root: Path) -> list[Path]:
    """The locks of the downloads under way."""
    return [*root.glob("locks/sha*/*")]


def start(puller: Puller, workers: Workers, worker: int, blob: str, count: int = 1, at: int = 1) -> list[Pull]:
    """`count` pulls by way of one worker, each with `at` bytes when this returns."""
    with workers.only(worker):
        pulls = [puller.start_blob(APP, blob) for _ in range(count)]
        for pull in pulls:
            pull.wait_for(at)
    return pulls


def finish(pulls: Sequence[Pull]) -> list[Result]:
    return [pull.finish() for pull in pulls]


def test_clients_of_both_workers_cost_one_download(upstream: FakeUpstream, puller: Puller, workers: Workers) -> None:
    data = random_bytes(4 * MiB, seed="both workers")
    blob = upstream.add_blob(data)
    upstream.faults.hold_at = 1 * MiB  # the upstream pauses here …

    pulls = start(puller, workers, workers.first, blob, 10, at=1 * MiB - 1)
    pulls += start(puller, workers, workers.second, blob, 10, at=1 * MiB - 1)  # … everyone is already reading …
    upstream.faults.gate.set()  # … and only now does it go on

    results = finish(pulls)
    assert [result.digest for result in results] == [blob] * 20
    assert sorted(result.headers["X-Cache"] for result in results) == ["join"] * 19 + ["miss"]
    assert upstream.gets(blob) == upstream.peak_in_flight(blob) == 1
    assert upstream.bytes_sent(blob) == len(data)


def test_clients_of_two_instances_over_one_store_cost_one_download(
    upstream: FakeUpstream,
    cache: CacheServer,
    make_cache: MakeCache,
    puller: Puller,
    make_puller: MakePuller,
) -> None:
    blob = upstream.add_blob(random_bytes(4 * MiB, seed="two instances"))
    upstream.faults.hold_at = 1 * MiB
    neighbour = make_puller(make_cache(root=cache.root).url)

    pulls = [each.start_blob(APP, blob) for each in (puller, neighbour) * 6]
    for pull in pulls:
        pull.wait_for(1 * MiB - 1)
    upstream.faults.gate.set()

    assert [result.digest for result in finish(pulls)] == [blob] * 12
    assert upstream.gets(blob) == 1
    assert upstream.bytes_sent(blob) == 4 * MiB
    assert neighbour.blob(blob).headers["X-Cache"] == "hit"


def test_thirty_two_clients_of_24_mebibytes_cost_24_mebibytes(upstream: FakeUpstream, puller: Puller) -> None:
    data = random_bytes(24 * MiB, seed="32 clients")
    blob = upstream.add_blob(data)
    assert puller.start_crowd(32, APP, blob, data).finish().right == 32
    assert upstream.bytes_sent(blob) == len(data)


def test_a_download_outlives_the_client_that_started_it(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(2 * MiB, seed="outlive"))
    upstream.faults.hold_at = 1 * MiB
    first = puller.start_blob(APP, blob)
    first.wait_for(1 * MiB - 1)
    first.close()
    upstream.faults.gate.set()

    assert puller.blob(blob).headers["X-Cache"] in ("join", "hit")
    again = puller.blob(blob)
    assert (again.headers["X-Cache"], digest_of(again.body)) == ("hit", blob)
    assert upstream.gets(blob) == 1
    assert upstream.bytes_sent(blob) == 2 * MiB


def test_an_image_that_everyone_leaves_is_whole_when_they_come_back(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(2 * MiB, seed="all leave"))
    upstream.faults.hold_at = 1 * MiB
    pulls = start(puller, workers, workers.first, blob, 2) + start(puller, workers, workers.second, blob, 2)
    for pull in pulls:
        pull.close()
    upstream.faults.gate.set()
    upstream.wait_until(lambda: upstream.bytes_sent(blob) == 2 * MiB)
    assert digest_of(puller.blob(blob).body) == blob
    assert upstream.gets(blob) == 1


def test_nobody_gets_the_last_byte_before_all_are_verified(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="last byte"))
    upstream.faults.hold_at = 1 * MiB - 1
    pulls = start(puller, workers, workers.first, blob, 2) + start(puller, workers, workers.second, blob, 2)
    for pull in pulls:
        pull.wait_for(1 * MiB - 2)
    assert max(pull.size for pull in pulls) == 1 * MiB - 2
    assert stored_blobs(cache.root) == []
    upstream.faults.gate.set()
    assert all(result.complete for result in finish(pulls))


def test_wrong_bytes_reach_no_client_whole(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(random_bytes(2 * MiB, seed="corrupt"))
    upstream.faults.corrupt_at = 2 * MiB - 5
    upstream.faults.hold_at = 1 * MiB
    pulls = start(puller, workers, workers.first, blob, 3) + start(puller, workers, workers.second, blob, 3)
    upstream.faults.gate.set()

    assert not any(result.complete for result in finish(pulls))
    upstream.wait_until(lambda: upstream.gets(blob) == 2)  # once more, in case it was an accident …
    eventually(lambda: not leading(cache.root))
    assert upstream.gets(blob) == 2
    assert stored_blobs(cache.root) == []

    upstream.reset_faults()  # … and for nobody who comes within the pause that follows, from whichever worker
    assert [puller.blob(blob).status for _ in range(4)] == [502] * 4
    assert upstream.gets(blob) == 2


def test_a_small_blob_that_was_wrong_once_is_right_for_the_client(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(20 * KiB, seed="small"))
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 10 * KiB, 1
    first = puller.start_blob(APP, blob).finish()
    assert (first.digest, first.complete) == (blob, True)
    assert upstream.gets(blob) == 2


@pytest.mark.parametrize(
    ("upstreams_answer", "status", "code", "tries"),
    [
        (404, 404, "BLOB_UNKNOWN", 1),
        (429, 503, "UNAVAILABLE", 1),
        (403, 403, "DENIED", 1),
        (500, 503, "UNAVAILABLE", MAX_FRUITLESS),
    ],
)
def test_all_who_joined_learn_the_leaders_error(
    upstream: FakeUpstream,
    puller: Puller,
    workers: Workers,
    upstreams_answer: int,
    status: int,
    code: str,
    tries: int,
) -> None:
    blob = digest_of(f"nowhere {status}".encode())
    upstream.faults.answer("GET .*/blobs/", upstreams_answer, Retry_After="7")
    upstream.faults.hold_before = "GET .*/blobs/"
    path = f"/v2/{APP}/blobs/{blob}"
    requests = workers.send(workers.first, path, count=8)
    upstream.wait_until(lambda: upstream.gets(blob) == 1)
    requests += workers.send(workers.second, path, count=8)
    upstream.faults.gate.set()

    answers = [request.answer() for request in requests]
    assert [answer.status for answer in answers] == [status] * 16
    assert {answer.json()["errors"][0]["code"] for answer in answers} == {code}
    assert {answer.headers["Retry-After"] for answer in answers} == {"7" if status in (429, 503) else None}
    assert upstream.gets(blob) == tries


def test_a_head_of_what_is_not_here_downloads_nothing(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    blob = upstream.add_blob(random_bytes(1 * MiB, seed="head"))
    answer = puller.head(f"/v2/{APP}/blobs/{blob}")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(1 * MiB))
    assert (upstream.heads(blob), upstream.gets(blob)) == (1, 0)
    assert stored_blobs(cache.root) == []
