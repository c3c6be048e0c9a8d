"""Pulls of blobs by several processes over one store: who downloads, who joins, and what a failing disk costs."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from registry_cache.errors import (
    BlobUnknown,
    Busy,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.names import Repository
from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.blob_body import Cut, PulledBlob
from registry_cache.pull.growing_blob import GrowingBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.pull.uncached.body import UncachedBlob
from tests.harness.content import OCI_MANIFEST
from tests.harness.images import random_bytes
from tests.harness.pull_rig import SECONDS, chunks, flying, holding
from tests.harness.store_rig import APP, HUB, HUB_APP, OTHER, Store, fail_at, open_store
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually

DATA = random_bytes(400_000, seed=5)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
HALF = len(DATA) // 2
THIRD = Repository.parse("library/third")


class Process:
    """What one worker has of a store. Several in one process behave as processes do: flock does."""

    def __init__(self, store: Store, upstream: FakeUpstream, readers: int = 100) -> None:
        fresh = open_store(Path(store.layout.root))
        self.transfers = Transfers(TransferParts(fresh.blobs, fresh.partials))
        self.slots = ReaderSlots(readers)
        self.flights = MachineFlights(fresh.layout)
        layers = Layers(fresh.records)
        access_of = partial(Access, flights=self.flights, layers=layers)
        self.pull = BlobPull(fresh.blobs, self.transfers, self.slots, layers, access_of)
        self.registry = connect(upstream.url)

    def idle(self) -> None:
        """Return when no transfer is under way here."""
        eventually(lambda: not self.transfers._running)

    def get(self, repository: Repository = APP, digest: Digest = DIGEST) -> tuple[Outcome, bytes]:
        """Pull the whole, as a client does."""
        answer = self.pull.get(target_at(self.registry, repository), digest)
        with closing(answer.body) as body:
            return answer.outcome, b"".join(chunks(body, 0, body.size))

    def body(self) -> PulledBlob:
        """What a client that begins to pull has; a hit is none of these stories."""
        body = self.pull.get(target_at(self.registry, APP), DIGEST).body
        assert isinstance(body, GrowingBlob)
        return body


@pytest.fixture
def processes(store: Store, upstream: FakeUpstream) -> Iterator[tuple[Process, Process]]:
    upstream.add_blob(DATA)
    both = Process(store, upstream), Process(store, upstream)
    yield both
    upstream.faults.release()
    for each in both:
        each.idle()
        assert each.slots.taken == 0


Both = tuple[Process, Process]


def test_one_client_then_another(processes: Both, upstream: FakeUpstream, store: Store) -> None:
    one, other = processes
    assert one.get() == (Outcome.MISS, DATA)
    assert other.get() == (Outcome.HIT, DATA)
    assert upstream.gets(NAME) == 1
    # Clients have the last byte at the commit, a moment before the transfer lets go of its lock.
    one.idle()
    other.idle()
    assert store.files("partial") == store.files("locks") == set()


def put_image(store: Store) -> None:
    """Keep a manifest that names the blob."""
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": NAME, "size": len(DATA)}
    image = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [layer]}).encode()
    store.records.put_manifest(HUB_APP, Digest.of(image), image, parse_manifest(image, OCI_MANIFEST))


def test_a_cache_upstream_that_denies_what_it_has_not_fetched_yet_is_asked_by_get(
    processes: Both, upstream: FakeUpstream, store: Store
) -> None:
    """It says so in the registry's own form. What no manifest names is believed to be absent."""
    target = target_at(processes[0].registry, APP)
    unknown = b'{"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
    upstream.faults.answer("HEAD .*/blobs/", 404, unknown, Docker_Distribution_Api_Version="registry/2.0")
    with pytest.raises(BlobUnknown):
        processes[0].pull.head(target, DIGEST)
    assert upstream.gets(NAME) == 0
    put_image(store)
    assert processes[0].pull.head(target, DIGEST).size == len(DATA)
    assert [each.headers.get("Range") for each in upstream.requests("GET")] == ["bytes=0-0"]


@pytest.mark.parametrize(("by_get", "told"), [(None, len(DATA)), (DATA[:-1], None)])
def test_a_size_that_is_not_the_manifests_is_not_told(
    processes: Both, upstream: FakeUpstream, store: Store, by_get: bytes | None, told: int | None
) -> None:
    target = target_at(processes[0].registry, APP)
    put_image(store)
    upstream.faults.answer("HEAD .*/blobs/", 200, DATA[:77])
    if by_get:
        upstream.faults.answer("GET .*/blobs/", 200, by_get)
    assert processes[0].pull.head(target, DIGEST).size == told
    assert upstream.gets(NAME) == 1


def test_many_clients_of_two_processes_cost_one_transfer(processes: Both, upstream: FakeUpstream) -> None:
    upstream.faults.hold_at = HALF
    with ThreadPoolExecutor(20) as pool:
        pulls = [pool.submit(processes[number % 2].get) for number in range(20)]
        upstream.wait_until(lambda: upstream.bytes_sent(NAME) >= HALF)
        eventually(lambda: sum(each.slots.taken for each in processes) == 20)
        upstream.faults.gate.set()
        results = [pull.result(SECONDS) for pull in pulls]
    assert {data for _, data in results} == {DATA}
    assert upstream.gets(NAME) == upstream.peak_in_flight(NAME) == 1
    assert [outcome for outcome, _ in results].count(Outcome.MISS) == 1


def test_many_clients_of_another_repository_cost_one_question(
    processes: Both, upstream: FakeUpstream, store: Store
) -> None:
    upstream.add_blob(DATA, str(OTHER))
    processes[0].get()
    processes[0].idle()
    upstream.faults.hold_before = f"HEAD /v2/{OTHER}/blobs/"
    key = f"blob {HUB}/{OTHER}@{DIGEST}"
    with ThreadPoolExecutor(40) as pool:
        pulls = [pool.submit(processes[number % 2].get, OTHER) for number in range(40)]
        # One of each process is at it, with the lock file open, and all others wait for the one of theirs.
        eventually(lambda: [flying(each.flights._here, key) for each in processes] == [19, 19])
        eventually(lambda: holding(os.getpid(), store.layout.flight(key)) == 2)
        # What is proven for one repository is not for a third.
        with pytest.raises(BlobUnknown):
            processes[0].get(THIRD)
        upstream.faults.gate.set()
        assert [pull.result(SECONDS) for pull in pulls] == [(Outcome.HIT, DATA)] * 40
    assert len(upstream.requests("HEAD", f"/v2/{OTHER}/blobs/")) == upstream.gets(NAME) == 1


def test_all_who_asked_meanwhile_are_refused_together_and_who_comes_later_asks_anew(
    processes: Both, upstream: FakeUpstream
) -> None:
    one, _ = processes
    one.get()
    one.idle()
    upstream.faults.hold_before = f"HEAD /v2/{OTHER}/blobs/"
    with ThreadPoolExecutor(8) as pool:
        pulls = [pool.submit(one.get, OTHER) for _ in range(8)]
        eventually(lambda: flying(one.flights._here, f"blob {HUB}/{OTHER}@{DIGEST}") == 7)
        upstream.faults.gate.set()
        assert {type(pull.exception(SECONDS)) for pull in pulls} == {BlobUnknown}
    assert upstream.heads(NAME) == 1
    upstream.add_blob(DATA, str(OTHER))
    assert one.get(OTHER) == (Outcome.HIT, DATA)


def test_late_comers_and_ranges_read_while_it_grows(processes: Both, upstream: FakeUpstream) -> None:
    upstream.faults.hold_at = HALF
    one, other = processes
    first = one.body()
    late = other.body()
    assert (first.size, late.size) == (len(DATA), len(DATA))
    assert b"".join(chunks(first, 0, 1000)) == DATA[:1000]
    assert b"".join(chunks(late, HALF - 1000, HALF - 10)) == DATA[HALF - 1000 : HALF - 10]
    beyond = chunks(late, HALF + 50, HALF + 60)
    assert upstream.bytes_sent(NAME) == HALF
    upstream.faults.gate.set()
    assert b"".join(beyond) == DATA[HALF + 50 : HALF + 60]
    first.close()
    first.close()
    late.close()


def test_the_transfer_outlives_its_client(processes: Both, upstream: FakeUpstream) -> None:
    one, other = processes
    upstream.faults.hold_at = HALF
    body = one.body()
    joined = other.body()
    for each in (body, joined):
        each.close()
    upstream.faults.gate.set()
    one.idle()
    assert other.get() == (Outcome.HIT, DATA)
    assert (upstream.gets(NAME), upstream.bytes_sent(NAME)) == (1, len(DATA))


@pytest.mark.parametrize("repository", [APP, OTHER])
def test_upstreams_no_reaches_all_who_asked(processes: Both, upstream: FakeUpstream, repository: Repository) -> None:
    absent = Digest.of(b"absent")
    upstream.faults.hold_before = f"GET .*/blobs/{absent}"
    with ThreadPoolExecutor(8) as pool:
        pulls = [pool.submit(processes[number % 2].get, repository, absent) for number in range(8)]
        upstream.wait_until(lambda: upstream.requests("GET"))
        eventually(lambda: sum(each.slots.taken for each in processes) == 8)
        upstream.faults.gate.set()
        assert all(isinstance(pull.exception(SECONDS), BlobUnknown) for pull in pulls)
    assert len(upstream.requests("GET")) == 1


def test_wrong_bytes_cut_everyone_short(processes: Both, upstream: FakeUpstream, store: Store) -> None:
    upstream.faults.corrupt_at = 5
    body = processes[0].body()
    got = 0
    with pytest.raises(Cut):  # noqa: PT012 — what came before the cut is counted
        for chunk in chunks(body, 0, body.size):
            got += len(chunk)
    assert got < len(DATA)
    body.close()
    processes[0].idle()
    assert store.files("blobs") == set()


def test_another_repository_must_prove_its_own_access(processes: Both, upstream: FakeUpstream) -> None:
    one, other = processes
    assert one.get() == (Outcome.MISS, DATA)
    with pytest.raises(BlobUnknown):
        other.get(OTHER)
    upstream.add_blob(DATA, str(OTHER))
    assert other.get(OTHER) == (Outcome.HIT, DATA)
    assert (upstream.gets(NAME), upstream.heads(NAME)) == (1, 2)


@pytest.mark.parametrize("follower", [0, 1])
def test_a_joiner_from_another_repository_must_prove_it_too(
    processes: Both, upstream: FakeUpstream, follower: int
) -> None:
    one, other = processes[0], processes[follower]
    upstream.faults.hold_at = HALF
    body = one.body()
    with pytest.raises(BlobUnknown):
        other.get(OTHER)
    upstream.add_blob(DATA, str(OTHER))
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(other.get, OTHER)
        upstream.wait_until(lambda: upstream.heads(NAME) == 2)
        upstream.faults.gate.set()
        assert joined.result(SECONDS) in ((Outcome.JOIN, DATA), (Outcome.HIT, DATA))
    body.close()
    assert upstream.gets(NAME) == 1


@pytest.mark.parametrize("status", [403, 404])
def test_anothers_denial_is_not_ours(processes: Both, upstream: FakeUpstream, status: int) -> None:
    one, _ = processes
    upstream.add_blob(DATA, str(OTHER))
    upstream.faults.hold_before = "GET .*/library/app/blobs/"
    upstream.faults.answer("GET .*/library/app/blobs/", status)
    with ThreadPoolExecutor(3) as pool:
        denied = pool.submit(one.get)
        upstream.wait_until(lambda: upstream.requests("GET"))
        waits = [pool.submit(each.get, OTHER) for each in processes]
        eventually(lambda: [each.slots.taken for each in processes] == [2, 1])
        upstream.faults.gate.set()
        assert denied.exception(SECONDS) is not None
        assert [each.result(SECONDS)[1] for each in waits] == [DATA] * 2
    assert upstream.gets(NAME) == 2


def test_more_readers_than_we_size_for(store: Store, upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    upstream.faults.hold_at = HALF
    small = Process(store, upstream, readers=2)
    bodies = [small.body() for _ in range(2)]
    with pytest.raises(Busy) as busy:
        small.get()
    assert busy.value.retry_after == 1
    upstream.faults.gate.set()
    for body in bodies:
        body.close()
    assert small.get()[1] == DATA
    small.idle()


@pytest.mark.parametrize("name", ["open", "write", "rename", "fsync", "link"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_costs_no_client_its_pull(
    store: Store,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: int,
) -> None:
    upstream.add_blob(DATA)
    root = Path(store.layout.root)
    for number in range(1, 40):
        worker = Process(store, upstream)
        with monkeypatch.context() as patched:
            calls = fail_at(patched, name, number, code, root)
            assert worker.get()[1] == DATA
            worker.idle()
        assert not store.wrong_blobs()
        assert worker.get()[1] == DATA
        worker.idle()
        for path in [*store.files("blobs"), *store.files("repositories"), *store.files("partial")]:
            os.unlink(root / path)
        if calls() < number:
            break
    else:
        raise AssertionError("every call failed")
    assert number > 1


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


class Commit:
    """The wait for the disk in a commit: it lasts until ``end``, and then fails with ``error`` if there is one."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.began, self.end = threading.Event(), threading.Event()
        self.error: OSError | None = None
        self._fsync = os.fsync
        patched.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_size == len(DATA):
            self.began.set()
            assert self.end.wait(SECONDS)
            if self.error:
                raise self.error
        self._fsync(descriptor)


@pytest.mark.parametrize("code", [None, errno.ENOSPC, errno.EIO])
def test_nobody_waits_for_the_disk_to_keep_a_large_blob(
    processes: Both, upstream: FakeUpstream, store: Store, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr("registry_cache.pull.transfer.leader.COMMIT_FIRST_SIZE", len(DATA) - 1)
    upstream.faults.hold_at = HALF
    bodies = [process.body() for process in processes]
    with monkeypatch.context() as patched:
        commit = Commit(patched)
        commit.error = OSError(code, os.strerror(code)) if code else None
        upstream.faults.gate.set()
        for body in bodies:
            assert b"".join(chunks(body, 0, len(DATA))) == DATA
            body.close()
        assert commit.began.wait(SECONDS)
        assert not store.files("blobs")
        # Nor does who comes now.
        assert processes[0].get() == (Outcome.JOIN, DATA)
        commit.end.set()
        for process in processes:
            process.idle()
    assert upstream.gets(NAME) == 1
    assert processes[1].get()[1] == DATA
    assert upstream.gets(NAME) == (2 if code else 1)


def test_a_blob_without_a_length_ends_where_it_is_verified(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry_cache.pull.transfer.leader.COMMIT_FIRST_SIZE", 0)
    upstream.faults.no_length = True
    with monkeypatch.context() as patched:
        commit = Commit(patched)
        body = processes[0].body()
        assert b"".join(chunks(body, 0, body.size)) == DATA
        body.wait_until_stored()
        assert body.size == len(DATA)
        body.close()
        commit.end.set()
        processes[0].idle()


def test_who_has_the_last_byte_of_a_small_blob_has_a_hit_next(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        commit = Commit(patched)
        body = processes[0].body()
        pieces = chunks(body, 0, len(DATA))
        got = b""
        while len(got) < len(DATA) - 1:
            got += next(pieces)
        assert commit.began.wait(SECONDS)
        assert len(got) == len(DATA) - 1
        commit.end.set()
        assert got + b"".join(pieces) == DATA
        body.close()
        assert processes[1].get() == (Outcome.HIT, DATA)
        processes[0].idle()


def test_a_disk_that_stays_full_streams_through(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.faults.hold_at = HALF
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", no_space)
        answer = processes[0].pull.get(target_at(processes[0].registry, APP), DIGEST)
        assert isinstance(answer.body, UncachedBlob)
        pieces = chunks(answer.body, 0, len(DATA))
        got = next(pieces)
        upstream.faults.gate.set()
        assert got + b"".join(pieces) == DATA
        answer.body.close()
    upstream.faults.hold_at = None
    assert processes[0].get()[1] == DATA


def test_a_disk_that_fills_in_mid_body_is_gone_on_with_uncached(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.faults.hold_at = HALF
    body = processes[0].body()
    pieces = chunks(body, 0, body.size)
    got = next(pieces)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", no_space)
        upstream.faults.gate.set()
        assert got + b"".join(pieces) == DATA
        processes[0].idle()
    body.close()


def test_a_disk_that_fills_in_mid_body_costs_the_readers_of_other_processes_nothing_either(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.faults.hold_at = HALF
    bodies = [process.body() for process in processes for _ in range(3)]
    pieces = [chunks(body, 0, len(DATA)) for body in bodies]
    got = [next(each) for each in pieces]

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", no_space)
        upstream.faults.gate.set()
        assert [first + b"".join(each) for first, each in zip(got, pieces, strict=True)] == [DATA] * 6
        for process in processes:
            process.idle()
    for body in bodies:
        body.close()
