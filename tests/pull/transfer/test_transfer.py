"""Many readers, one transfer: whoever leads, whoever dies, whoever comes late."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import (
    BlobUnknown,
    Busy,
    StoreFull,
    TooManyRequests,
    UpstreamCorrupt,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.pull.blob import BlobPull, WholeBlob
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.growing_blob import GrowingBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.target import PullTarget
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.registry import Transfers
from registry_cache.pull.transfer.transfer import Transfer
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.store.partials import DownloadStatus, failed_status
from tests.harness.images import random_bytes
from tests.harness.pull_rig import SECONDS, Script, Try, chunks, drain, eventually, flying, holding, hurry, transfer
from tests.harness.store_rig import APP, HUB, OTHER, Store, children, descriptors, fail_at, open_store
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

DATA = random_bytes(400_000, seed=5)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
HALF = len(DATA) // 2
THIRD = Repository.parse("library/third")

# Another process that leads a download and stops in the middle of it, until it is killed or told to end somehow.
LEAD = """
import sys, time
from pathlib import Path
from registry_cache.errors import TooManyRequests
from registry_cache.oci.digest import Digest
from registry_cache.store.layout import Layout
from registry_cache.store.partials import Partials, DownloadStatus, failed_status
source = Path(sys.argv[2]).read_bytes()
half, digest = len(source) // 2, Digest.of(source)
claim = Partials(Layout(Path(sys.argv[1]))).claim(digest)
with claim:
    partial = claim.partial()
    claim.publish(DownloadStatus("docker.io", "library/app", time.time(), len(source)))
    partial.append(source[:half])
    print("half", flush=True)
    word = sys.stdin.readline().strip()
    if word == "commit":
        partial.append(source[half:])
        partial.commit()
        claim.clear()
    elif word == "wrong":
        partial.discard()
        again = claim.partial()
        again.append(source[:half + 1000])
        print("again", flush=True)
        sys.stdin.readline()
        again.append(source[half + 1000:])
        again.commit()
    elif word == "fail":
        claim.publish(failed_status("docker.io", "library/app", TooManyRequests("0 of 100 left", retry_after=9)))
print("done", flush=True)
sys.stdin.readline()
"""


class Process:
    """What one worker has of a store. Several in one process behave as processes do: flock does."""

    def __init__(self, store: Store, upstream: FakeUpstream, readers: int = 100) -> None:
        fresh = open_store(Path(store.layout.root))
        self.transfers = Transfers(fresh.blobs, fresh.partials)
        self.slots = ReaderSlots(readers)
        self.flights = MachineFlights(fresh.layout)
        self.pull = BlobPull(fresh.blobs, self.transfers, self.slots, Layers(fresh.records), self.flights)
        self.registry = connect(upstream.url)

    def idle(self) -> None:
        """Return when no transfer is under way here."""
        eventually(lambda: not self.transfers._running)

    def get(self, repository: Repository = APP, digest: Digest = DIGEST) -> tuple[Outcome, bytes]:
        """Pull the whole, as a client does."""
        answer = self.pull.get(PullTarget(self.registry, repository), digest)
        if isinstance(answer.body, WholeBlob):
            return answer.outcome, answer.body.file.read_at(0, answer.body.size)
        try:
            return answer.outcome, b"".join(chunks(answer.body, 0, answer.body.size))
        finally:
            answer.body.close()


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
    first = one.pull.get(PullTarget(one.registry, APP), DIGEST).body
    late = other.pull.get(PullTarget(other.registry, APP), DIGEST).body
    assert isinstance(first, GrowingBlob)
    assert isinstance(late, GrowingBlob)
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
    body = one.pull.get(PullTarget(one.registry, APP), DIGEST).body
    assert isinstance(body, GrowingBlob)
    joined = other.pull.get(PullTarget(other.registry, APP), DIGEST).body
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
    body = processes[0].pull.get(PullTarget(processes[0].registry, APP), DIGEST).body
    assert isinstance(body, GrowingBlob)
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
    body = one.pull.get(PullTarget(one.registry, APP), DIGEST).body
    assert isinstance(body, GrowingBlob)
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
    bodies = [small.pull.get(PullTarget(small.registry, APP), DIGEST).body for _ in range(2)]
    with pytest.raises(Busy) as busy:
        small.get()
    assert busy.value.retry_after == 1
    upstream.faults.gate.set()
    for body in bodies:
        assert isinstance(body, GrowingBlob)
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
    monkeypatch.setattr("registry_cache.pull.transfer.transfer.COMMIT_FIRST_SIZE", len(DATA) - 1)
    upstream.faults.hold_at = HALF
    bodies = [process.pull.get(PullTarget(process.registry, APP), DIGEST).body for process in processes]
    with monkeypatch.context() as patched:
        commit = Commit(patched)
        commit.error = OSError(code, os.strerror(code)) if code else None
        upstream.faults.gate.set()
        for body in bodies:
            assert isinstance(body, GrowingBlob)
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
    monkeypatch.setattr("registry_cache.pull.transfer.transfer.COMMIT_FIRST_SIZE", 0)
    upstream.faults.no_length = True
    with monkeypatch.context() as patched:
        commit = Commit(patched)
        body = processes[0].pull.get(PullTarget(processes[0].registry, APP), DIGEST).body
        assert isinstance(body, GrowingBlob)
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
        body = processes[0].pull.get(PullTarget(processes[0].registry, APP), DIGEST).body
        assert isinstance(body, GrowingBlob)
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
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    upstream.faults.hold_at = HALF
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        answer = processes[0].pull.get(PullTarget(processes[0].registry, APP), DIGEST)
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
    body = processes[0].pull.get(PullTarget(processes[0].registry, APP), DIGEST).body
    assert isinstance(body, GrowingBlob)
    pieces = chunks(body, 0, body.size)
    got = next(pieces)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        upstream.faults.gate.set()
        assert got + b"".join(pieces) == DATA
        processes[0].idle()
    body.close()


def test_a_disk_that_fills_in_mid_body_costs_the_readers_of_other_processes_nothing_either(
    processes: Both, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.faults.hold_at = HALF
    bodies = [
        process.pull.get(PullTarget(process.registry, APP), DIGEST).body for process in processes for _ in range(3)
    ]
    pieces = [chunks(body, 0, len(DATA)) for body in bodies if isinstance(body, GrowingBlob)]
    got = [next(each) for each in pieces]

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        upstream.faults.gate.set()
        assert [first + b"".join(each) for first, each in zip(got, pieces, strict=True)] == [DATA] * 6
        for process in processes:
            process.idle()
    for body in bodies:
        assert isinstance(body, GrowingBlob)
        body.close()


def followed(store: Store, script: Script, repository: Repository = APP) -> tuple[TransferProgress, threading.Thread]:
    """A transfer of this process that runs beside the test."""
    feed = TransferProgress(DIGEST)
    thread = threading.Thread(target=transfer, args=(store, script, repository, feed))
    thread.start()
    return feed, thread


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def test_following_another_process_to_its_commit(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        feed.wait_for_answer()
        assert (feed.size, feed.owner, feed.led_here) == (len(DATA), (HUB, str(APP)), False)
        handle, head = feed.read(None, 0, HALF)
        assert DATA[:HALF].startswith(head)
        leader.hears("commit")
        assert head + feed_rest(feed, handle, len(head)) == DATA
        thread.join(SECONDS)
    assert feed.committed
    assert script.starts == []


def feed_rest(feed: TransferProgress, handle: object, at: int) -> bytes:
    got = b""
    while True:
        handle, chunk = feed.read(handle, at + len(got), 50_000)  # type: ignore[arg-type]
        if not chunk:
            return got
        got += chunk


def test_taking_over_from_a_killed_leader_unnoticed(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        handle, head = feed.read(None, 0, 5000)
        leader.kill()
        assert head + feed_rest(feed, handle, len(head)) == DATA
        thread.join(SECONDS)
    assert script.starts == [HALF]
    assert feed.led_here
    assert store.read(DIGEST) == DATA


def test_two_who_wait_and_one_takes_over(store: Store, file: Path) -> None:
    scripts = [Script(DATA), Script(DATA)]
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        follow = [followed(open_store(Path(store.layout.root)), script) for script in scripts]
        heads = [feed.read(None, 0, 5000) for feed, _ in follow]
        leader.kill()
        for (feed, thread), (handle, head) in zip(follow, heads, strict=True):
            assert head + feed_rest(feed, handle, len(head)) == DATA
            thread.join(SECONDS)
    assert sorted(script.starts for script in scripts) == [[], [HALF]]


def test_a_leader_that_begins_anew_cuts_those_who_have_read(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        handle, head = feed.read(None, 0, 5000)
        leader.hears("wrong")
        assert leader.says() == "again"
        with pytest.raises(Cut):
            feed_rest(feed, handle, len(head))
        leader.hears()
        assert drain(feed) == DATA
        thread.join(SECONDS)
    assert script.starts == []


def test_a_leaders_error_is_ours(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        feed.wait_for_answer()
        leader.hears("fail")
        with pytest.raises(Cut) as cut:
            drain(feed)
        assert isinstance(cut.value.error, TooManyRequests)
        assert cut.value.error.retry_after == 9
        thread.join(SECONDS)
    assert script.starts == []


def test_yesterdays_error_is_not_ours(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        claim.publish(failed_status(HUB, APP, UpstreamCorrupt("yesterday")))
    assert transfer(store, Script(DATA)).committed


def test_a_watcher_that_nobody_wants_any_more_ends(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        feed = TransferProgress(DIGEST)
        Transfer(feed, Script(DATA).source(), store.blobs, store.partials).run(lambda: False)
        assert not feed.ended


def test_a_commit_that_happened_meanwhile_is_found_under_the_lock(store: Store) -> None:
    store.put(DATA)
    script = Script(DATA)
    assert drain(transfer(store, script)) == DATA
    assert script.starts == []


def test_a_truncated_blob_is_fetched_again(store: Store) -> None:
    store.put(DATA)
    os.chmod(store.layout.blob(DIGEST), 0o644)
    os.truncate(store.layout.blob(DIGEST), 10)
    assert drain(transfer(store, Script(DATA))) == DATA
    assert store.read(DIGEST) == DATA


def test_a_size_that_changes_between_tries_cuts_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    script = Script(DATA, [Try(cut=HALF, sized=False), Try(cut=1000, lie=5)])
    feed = TransferProgress(DIGEST)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(drain, feed)
        transfer(store, script, feed=feed)
        assert reading.result(SECONDS) == DATA
    assert script.starts == [0, HALF, HALF + 1000]


def test_a_defect_ends_the_feed_and_frees_the_lock(store: Store) -> None:
    before = descriptors()
    feed = transfer(store, Script(DATA, [Try(refuse=ZeroDivisionError("a defect"))]))
    with pytest.raises(Cut, match="ZeroDivisionError"):
        feed.read(None, 0, 10)
    del feed
    assert store.files("locks") == set()
    assert not descriptors() - before
    assert transfer(store, Script(DATA)).committed


def test_an_honest_error_is_left_for_others_to_see(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    script = Script(DATA, [Try(refuse=UpstreamUnavailable("503", retry_after=3)) for _ in range(9)])
    feed = transfer(store, script)
    with pytest.raises(UpstreamUnavailable):
        feed.wait_for_answer()
    status = store.partials.status(DIGEST)
    assert status is not None
    assert isinstance(status.error, UpstreamUnavailable)


def test_a_full_disk_is_an_error_of_the_feed(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "write", 2, errno.ENOSPC, tmp_path)
        feed = transfer(store, Script(DATA))
    with pytest.raises(Cut) as cut:
        drain(feed)
    assert isinstance(cut.value.error, StoreFull)
    assert transfer(store, Script(DATA)).committed


def test_a_membership_that_cannot_be_recorded_costs_a_question_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "link", 1, errno.EIO, tmp_path)
        feed = transfer(store, Script(DATA))
    assert drain(feed) == DATA
    assert store.read(DIGEST) is None
    assert store.blobs.open_any(DIGEST)


def test_a_status_that_was_told_is_cleared_by_the_commit(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        claim.publish(DownloadStatus(HUB, APP, 5.0, 7))
    transfer(store, Script(DATA))
    assert store.partials.status(DIGEST) is None
