"""Many clients of a blob that the disk does not keep: a transfer a worker, not one each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Pull
from tests.harness.upstream import FakeUpstream
from tests.harness.workers import Workers

SIZE = 8 * MiB
CLIENTS = 5  # of each worker


def all_right(pulls: list[Pull], blob: str) -> bool:
    results = [pull.finish() for pull in pulls]
    assert [(each.status, each.digest, each.complete) for each in results] == [(200, blob, True)] * len(pulls)
    return True


def test_a_blob_that_is_larger_than_the_store_costs_one_transfer_a_worker(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache({"storage": {"max_size": "1MiB"}})
    workers, puller = Workers(cache), make_puller(cache.url)
    blob = upstream.add_blob(random_bytes(SIZE, seed="larger"))
    upstream.faults.hold_at = 1 * MiB
    pulls = []
    for worker in (workers.first, workers.second):
        with workers.only(worker):
            for _ in range(CLIENTS):
                pulls.append(puller.start_blob(APP, blob))
                pulls[-1].wait_for(1 * MiB - 256 * KiB)

    # Each worker has asked once whether the disk takes it, and once more for all its clients.
    assert upstream.gets(blob) == 4
    upstream.faults.gate.set()

    assert all_right(pulls, blob)
    assert upstream.gets(blob) == 4
    # The two that were only asked end at the gate, or soon after.
    assert upstream.bytes_sent(blob) <= 3 * SIZE
    assert not list(cache.root.glob("blobs/*/*/*"))


@pytest.mark.needs_root
def test_a_disk_that_fills_in_mid_body_costs_one_more_transfer_a_worker_and_no_client(
    small_disk: Path, upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache(root=small_disk / "store")
    workers, puller = Workers(cache), make_puller(cache.url)
    blob = upstream.add_blob(random_bytes(3 * SIZE, seed="a disk and more"))
    upstream.faults.hold_at = 4 * MiB
    pulls = []
    for worker in (workers.first, workers.second):
        with workers.only(worker):
            for _ in range(CLIENTS):
                pulls.append(puller.start_blob(APP, blob))
            # They read what the leader writes, whose process may be the stopped one.
            for pull in pulls[-CLIENTS:]:
                pull.wait_for(4 * MiB - 256 * KiB)
    assert upstream.gets(blob) == 1
    upstream.faults.gate.set()

    assert all_right(pulls, blob)
    # Three, unless the machine is so busy that some client comes to the end of the disk when all others are done.
    assert upstream.gets(blob) <= CLIENTS


def test_what_a_cut_upstream_or_wrong_bytes_do_to_one_they_do_to_all(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    # A range that is fetched by itself comes from elsewhere, and what becomes of the whole is nothing to it.
    cache = make_cache({"storage": {"max_size": "1MiB"}, "proxy": {"lazy": "off"}}, workers=1)
    puller = make_puller(cache.url)
    blob = upstream.add_blob(random_bytes(SIZE, seed="wrong"))
    upstream.faults.hold_at = 1 * MiB
    upstream.faults.corrupt_at = SIZE - 1
    pulls = [puller.start_blob(APP, blob) for _ in range(CLIENTS)]
    part = puller.start_blob(APP, blob, {"Range": f"bytes={2 * MiB}-{3 * MiB}"})
    for pull in pulls:
        pull.wait_for(1 * MiB - 256 * KiB)
    upstream.faults.gate.set()

    assert [pull.finish().complete for pull in [*pulls, part]] == [False] * (CLIENTS + 1)

    upstream.faults.corrupt_at = upstream.faults.hold_at = None
    assert puller.blob(blob).status == 502
    assert upstream.gets(blob) <= 2
    blob = upstream.add_blob(random_bytes(SIZE, seed="cut"))
    upstream.faults.cut_after = [5 * MiB, 5 * MiB]
    assert all_right([puller.start_blob(APP, blob) for _ in range(CLIENTS)], blob)
    answer = puller.get(f"/v2/{APP}/blobs/{blob}", {"Range": "bytes=5-9"})
    assert answer.status == 206
    assert answer.body == random_bytes(SIZE, seed="cut")[5:10]
