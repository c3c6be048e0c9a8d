"""Manifests by tag and digest: what upstream is asked, what is kept, and what is served when it is silent."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry_cache.errors import (
    Denied,
    ManifestUnknown,
    TooManyRequests,
    UpstreamCorrupt,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Reference, Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.oci.signed_manifest import SIGNED
from registry_cache.pull import manifest_fetch
from registry_cache.pull.manifest import ManifestAnswer, ManifestPull
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.store.locks import LockFile
from registry_cache.store.pins import ANY_UPSTREAM, Pin, Pins
from registry_cache.upstream import heads, transport
from tests.harness.content import DOCKER_INDEX, OCI_MANIFEST
from tests.harness.pull_rig import ALWAYS_ASK, SECONDS, flying, holding
from tests.harness.schema_1 import signed
from tests.harness.store_rig import APP, HUB, HUB_APP, LATEST, OTHER, Store, open_store
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually

OTHER_TAG = Tag("other")

# Less than whoever has no copy waits.
PATIENT = 0.9 * transport.ANSWER_TIMEOUT_SECONDS


def document(number: int) -> bytes:
    return json.dumps({"schemaVersion": 2, "layers": [], "annotations": {"number": str(number)}}, indent=4).encode()


class Worker:
    """One process' manifests; its clock is ahead of ours by ``ahead``."""

    def __init__(self, store: Store, url: str) -> None:
        fresh = open_store(Path(store.layout.root))
        self.root = store.layout.root
        self.ahead = timedelta(0)
        self.registry = connect(url)
        self.flights = MachineFlights(fresh.layout)
        self.pull = ManifestPull(
            fresh.records, self.flights, lambda: datetime.now(UTC) + self.ahead, pins=Pins(fresh.layout)
        )

    def get(
        self, reference: Reference = LATEST, repository: Repository = APP, *, head: bool = False, **policy: object
    ) -> ManifestAnswer:
        target = target_at(self.registry, repository, replace(ALWAYS_ASK, **policy))  # type: ignore[arg-type]
        return self.pull.get(target, reference, head=head)

    def head(self, reference: Reference = LATEST, repository: Repository = APP, **policy: object) -> ManifestAnswer:
        return self.get(reference, repository, head=True, **policy)


@pytest.fixture(autouse=True)
def _a_long_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails at once is asked for once more; on a busy machine "at once" may take a while."""
    monkeypatch.setattr(manifest_fetch, "SOON_SECONDS", SECONDS)


@pytest.fixture
def worker(store: Store, upstream: FakeUpstream) -> Worker:
    return Worker(store, upstream.url)


def publish(upstream: FakeUpstream, number: int, tag: str | None = "latest", repository: str = str(APP)) -> Digest:
    return Digest.parse(upstream.add_manifest(document(number), tag=tag, repository=repository))


def asked(upstream: FakeUpstream) -> list[str]:
    return [f"{each.method} {each.name[:12]}" for each in upstream.requests()]


def flying_at_all(worker: Worker) -> bool:
    return bool(worker.flights._here._flights)


def test_a_tag_costs_a_head_and_one_get_by_digest(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    digest = publish(upstream, 1)
    answer = worker.get()
    assert (answer.outcome, answer.digest, answer.data) == (Outcome.MISS, digest, document(1))
    assert (answer.media_type, answer.size) == (OCI_MANIFEST, len(document(1)))
    assert asked(upstream) == ["HEAD latest", f"GET {str(digest)[:12]}"]
    again = worker.get()
    assert (again.outcome, again.data) == (Outcome.REVALIDATED, document(1))
    assert upstream.counted_pulls == 1
    assert worker.get(digest).outcome is Outcome.HIT
    assert len(upstream.requests()) == 3
    assert store.files("locks") == set()


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_signed_manifest_is_named_by_what_was_signed(upstream: FakeUpstream, store: Store, by: str) -> None:
    part, whole = signed()
    named = Digest.of(part)
    upstream.add_manifest(whole, media_type=SIGNED, tag="latest", digest=str(named))
    reference = LATEST if by == "tag" else named
    for outcome in (Outcome.MISS, Outcome.REVALIDATED if by == "tag" else Outcome.HIT):
        answer = Worker(store, upstream.url).get(reference)
        assert (answer.outcome, answer.digest, answer.media_type, answer.data) == (outcome, named, SIGNED, whole)
    # Under its name nobody else may find bytes that do not hash to it.
    assert store.blobs.open_any(named) is None
    assert store.blobs.open_any(Digest.of(whole))


def test_a_signed_manifest_that_is_not_the_one_asked_for(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    wanted = Digest.of(b"another")
    upstream.add_manifest(signed()[1], media_type=SIGNED, tag="latest", digest=str(wanted))
    with pytest.raises(UpstreamCorrupt):
        worker.get(LATEST)
    assert store.records.manifest(HUB_APP, wanted) is None


def test_when_upstream_has_confirmed_a_tag_is_kept(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    def checked_at() -> datetime:
        record = store.records.tag(HUB_APP, LATEST)
        assert record
        return record.checked_at

    upstream.add_manifest(document(1), OCI_MANIFEST, tag="latest")
    worker.get()
    first = checked_at()

    worker.ahead = timedelta(minutes=1)
    assert worker.get().outcome is Outcome.REVALIDATED
    assert checked_at() - first >= timedelta(seconds=59)

    # The clock was set back: a moment that is yet to come says nothing.
    worker.ahead = timedelta(0)
    assert worker.get().outcome is Outcome.REVALIDATED
    assert checked_at() - first < timedelta(seconds=59)


def test_a_tag_that_moved_brings_the_new_manifest_at_once(upstream: FakeUpstream, worker: Worker) -> None:
    old = publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    upstream.forget()
    answer = worker.get()
    assert (answer.outcome, answer.digest, answer.data) == (Outcome.MISS, new, document(2))
    assert [each.name for each in upstream.requests("GET")] == [str(new)]
    assert worker.get().outcome is Outcome.REVALIDATED
    assert worker.get(old).outcome is Outcome.HIT
    upstream.tag(str(APP), "latest", str(old))
    back = worker.get()
    assert (back.digest, back.data) == (old, document(1))
    assert upstream.counted_pulls == 1


@pytest.mark.parametrize(("image", "upstream_name"), [(f"{APP}:latest", HUB), ("**:l*", ANY_UPSTREAM)])
def test_a_pinned_tag_outlives_its_deletion(
    upstream: FakeUpstream, worker: Worker, store: Store, image: str, upstream_name: str
) -> None:
    digest = publish(upstream, 1)
    publish(upstream, 1, "other")
    worker.get()
    worker.get(OTHER_TAG)
    pin = Pin(upstream_name, ImagePattern.parse(image))
    Pins(store.layout).add([pin])
    upstream.faults.answer(".*/manifests/.*", 404)

    for head in (False, True, False):
        answer = worker.get(head=head)
        assert (answer.outcome, answer.digest, answer.data) == (Outcome.STALE, digest, document(1))
        assert answer.checked_at
        assert "is unknown to" in (answer.reason or "")
        assert "pinned" in (answer.reason or "")
    assert worker.get(digest).outcome is Outcome.HIT
    with pytest.raises(ManifestUnknown):
        worker.get(OTHER_TAG)
    assert store.records.tags(HUB_APP) == ["latest"]

    Pins(store.layout).remove([pin])
    with pytest.raises(ManifestUnknown):
        worker.get()
    assert store.records.tags(HUB_APP) == []


def test_a_pin_is_no_right_to_read(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    publish(upstream, 1)
    worker.get()
    Pins(store.layout).add([Pin(HUB, ImagePattern.parse(f"{APP}:latest"))])
    upstream.faults.status = 403
    with pytest.raises(Denied):
        worker.get()


def test_with_unreadable_pins_no_tag_is_forgotten(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    publish(upstream, 1)
    worker.get()
    Path(store.layout.pins).write_text("{")
    upstream.untag(str(APP), "latest")
    assert worker.get().outcome is Outcome.STALE
    assert store.records.tags(HUB_APP) == ["latest"]


def test_what_a_pinned_tag_moved_to_is_gone_as_well(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    old = publish(upstream, 1)
    worker.get()
    Pins(store.layout).add([Pin(HUB, ImagePattern.parse(f"{APP}:latest"))])
    publish(upstream, 2)
    upstream.faults.answer("GET .*", 404)
    answer = worker.get()
    assert (answer.outcome, answer.digest, answer.data) == (Outcome.STALE, old, document(1))


def test_a_deleted_tag_is_forgotten(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    digest = publish(upstream, 1)
    worker.get()
    upstream.untag(str(APP), "latest")
    for _ in range(2):
        with pytest.raises(ManifestUnknown):
            worker.get()
    assert store.records.tags(HUB_APP) == []
    assert worker.get(digest).outcome is Outcome.HIT
    upstream.stop()
    with pytest.raises((UpstreamUnavailable, UpstreamTimeout)):
        worker.get()


def test_a_fresh_tag_is_not_asked_about(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    worker.get()
    publish(upstream, 2)
    hour = timedelta(hours=1)
    answer = worker.get(max_age=hour)
    assert (answer.outcome, answer.data) == (Outcome.HIT, document(1))
    assert answer.checked_at is not None
    worker.ahead = timedelta(hours=2)
    assert worker.get(max_age=hour).data == document(2)
    # A record from the future is not trusted.
    worker.ahead = timedelta(hours=-5)
    assert worker.get(max_age=hour).outcome is Outcome.REVALIDATED


OUTAGES: dict[str, dict[str, object]] = {
    "503": {"status": 503},
    "500": {"status": 500},
    "silence": {"hold_before": "manifests"},
    "cut": {"drop": "/"},
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_silence_serves_what_we_have(upstream: FakeUpstream, worker: Worker, outage: str) -> None:
    publish(upstream, 1)
    worker.get()
    for name, value in OUTAGES[outage].items():
        setattr(upstream.faults, name, value)
    for _ in range(4):
        answer = worker.get(timeout_seconds=0.2)
        assert (answer.outcome, answer.data) == (Outcome.STALE, document(1))
        assert answer.reason
        assert answer.checked_at is not None
    upstream.faults.release()


def test_silence_without_a_copy_is_the_error(upstream: FakeUpstream, worker: Worker) -> None:
    upstream.faults.status = 503
    with pytest.raises(UpstreamUnavailable):
        worker.get()
    with pytest.raises(UpstreamUnavailable):
        worker.get(Digest.of(b"x"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_an_answer_and_the_copy_stays(upstream: FakeUpstream, worker: Worker, status: int) -> None:
    publish(upstream, 1)
    worker.get()
    upstream.faults.status = status
    with pytest.raises(Denied):
        worker.get()
    upstream.faults.status = None
    assert worker.get().outcome is Outcome.REVALIDATED


def test_a_limit_on_gets_serves_the_old_copy_for_as_long_as_it_lasts(upstream: FakeUpstream, worker: Worker) -> None:
    """Docker Hub's: the HEAD is free and says that the tag moved; the GET of what it moved to is refused."""
    publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    upstream.faults.answer(f"GET .*{new}", 429, Retry_After="60")
    for _ in range(3):
        answer = worker.get()
        assert (answer.outcome, answer.data) == (Outcome.STALE, document(1))


def test_an_outage_between_head_and_get_does_not_lose_the_old_copy(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    upstream.faults.answer(f"GET .*{new}", 503)
    assert worker.get().outcome is Outcome.STALE
    upstream.faults.status = 503
    assert worker.get().data == document(1)


def test_a_head_of_a_moved_tag_does_not_lose_the_old_copy(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    head = worker.head()
    assert (head.digest, head.data) == (new, None)
    upstream.faults.status = 503
    answer = worker.get()
    assert (answer.outcome, answer.data) == (Outcome.STALE, document(1))


def test_what_was_asked_for_by_head_and_then_by_digest_is_served_by_tag_in_an_outage(
    upstream: FakeUpstream, worker: Worker
) -> None:
    for number in (1, 2):
        digest = publish(upstream, number)
        worker.head()
        worker.get(digest)
        upstream.stop()
        answer = worker.get()
        assert (answer.outcome, answer.data) == (Outcome.STALE, document(number))
        upstream.start()
        worker = Worker(open_store(Path(worker.root)), upstream.url)


def test_a_limit_without_a_copy_says_when_to_come_again(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    upstream.faults.rate_limit, upstream.faults.retry_after = 0, "77"
    with pytest.raises(TooManyRequests) as error:
        worker.get()
    assert error.value.retry_after == pytest.approx(77, abs=5)


def test_forty_who_ask_at_once_cost_one_head_and_one_get(upstream: FakeUpstream, store: Store) -> None:
    digest = publish(upstream, 1)
    workers = [Worker(store, upstream.url) for _ in range(2)]
    upstream.faults.hold_before = "HEAD"
    key = f"tag {HUB}/{APP}:{LATEST}"
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(workers[number % 2].get) for number in range(40)]
        # One of each process is at it, with the lock file open, and all others wait for the one of theirs.
        eventually(lambda: [flying(worker.flights._here, key) for worker in workers] == [19, 19])
        eventually(lambda: holding(os.getpid(), store.layout.flight(key)) == 2)
        upstream.faults.gate.set()
        results = [answer.result(SECONDS) for answer in answers]
    assert {(each.digest, each.data) for each in results} == {(digest, document(1))}
    assert upstream.heads("latest") == upstream.gets(str(digest)) == 1


def test_bytes_that_are_not_the_digests_are_fetched_once_more(
    upstream: FakeUpstream, worker: Worker, store: Store
) -> None:
    digest = publish(upstream, 1)
    upstream.faults.manifest_bytes_override[str(digest)] = b'{"wrong": 1}'
    with pytest.raises(UpstreamCorrupt):
        worker.get()
    assert upstream.gets(str(digest)) == 2
    assert not store.wrong_blobs()
    assert store.records.manifest(HUB_APP, digest) is None
    with pytest.raises(UpstreamCorrupt):
        worker.get(digest)
    assert store.files("blobs") == set()
    upstream.faults.manifest_bytes_override.clear()
    assert worker.get().data == document(1)


def test_a_manifest_that_breaks_off_is_an_error(upstream: FakeUpstream, worker: Worker) -> None:
    digest = publish(upstream, 1)
    faults = upstream.faults.of(str(digest))
    faults.cut_after = 10
    with pytest.raises(UpstreamError):
        worker.get()
    # Once is a failure of a moment, and asked again.
    faults.cut_after = [10]
    assert worker.get().data == document(1)


def test_the_tag_moves_between_head_and_get(upstream: FakeUpstream, worker: Worker) -> None:
    first, second = publish(upstream, 1), publish(upstream, 2, tag=None)
    upstream.faults.move_tag_after_head["latest"] = str(second)
    answer = worker.get()
    assert (answer.digest, answer.data) == (first, document(1))
    assert worker.get().digest == second


def test_the_tag_moves_and_takes_its_manifest_with_it(upstream: FakeUpstream, worker: Worker) -> None:
    first, second = publish(upstream, 1), publish(upstream, 2, tag=None)
    upstream.faults.move_tag_after_head["latest"] = str(second)
    upstream.faults.answer(f"GET .*{first}", 404)
    assert worker.get().data == document(2)


@pytest.mark.parametrize("knob", ["no_digest_header", "no_head"])
def test_a_head_that_tells_nothing_is_followed_by_a_get_once_a_minute(
    upstream: FakeUpstream, worker: Worker, monkeypatch: pytest.MonkeyPatch, knob: str
) -> None:
    digest = publish(upstream, 1)
    setattr(upstream.faults, knob, True)
    head = worker.head()
    assert (head.outcome, head.digest) == (Outcome.MISS, digest)
    for _ in range(3):
        answer = worker.get()
        assert (answer.digest, answer.data) == (digest, document(1))
    assert len(upstream.requests("GET", "/manifests/")) == 1
    publish(upstream, 2)
    monkeypatch.setattr(heads, "TAG_SECONDS", 0.0)
    assert worker.get().data == document(2)
    assert worker.head(publish(upstream, 3, tag=None)).size == len(document(3))


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 415, 500, 501])
def test_a_head_that_is_refused_costs_one_request_in_all(upstream: FakeUpstream, worker: Worker, status: int) -> None:
    upstream.faults.answer("HEAD .*/manifests/", status)
    for number, tag in enumerate(("a", "b", "c")):
        publish(upstream, number, tag)
        assert worker.get(Tag.parse(tag)).data == document(number)
    assert len(upstream.requests("HEAD", "/manifests/")) == 1


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_a_head_that_fails_is_followed_by_a_get_where_there_is_no_copy(
    upstream: FakeUpstream, worker: Worker, status: int
) -> None:
    publish(upstream, 1)
    upstream.faults.answer("HEAD .*/manifests/", status)
    assert worker.get().data == document(1)
    assert asked(upstream) == ["HEAD latest", "GET latest"]
    # What is here costs no counted pull for an outage.
    assert worker.get().outcome is Outcome.STALE
    assert upstream.counted_pulls == 1


def test_a_digest_that_names_nothing_costs_one_get_a_minute(upstream: FakeUpstream, worker: Worker) -> None:
    digest = publish(upstream, 1)
    upstream.faults.answer(
        "HEAD .*/manifests/", 200, document(2), Docker_Content_Digest=str(Digest.of(b"else")), Content_Type=OCI_MANIFEST
    )
    for _ in range(3):
        assert worker.get().digest == digest
    assert len(upstream.requests("GET", str(digest)[:12])) == 0
    assert len(upstream.requests("GET", "/latest")) == 1


@pytest.mark.parametrize(
    "says",
    [
        {"Content_Type": OCI_MANIFEST},
        {"Content_Type": "application/octet-stream"},
        {"Content_Type": "text/plain", "Content_Length": "0"},
    ],
)
def test_a_head_that_tells_a_digest_alone_costs_no_get_where_that_is_here(
    upstream: FakeUpstream, worker: Worker, says: dict[str, str]
) -> None:
    digest = publish(upstream, 1)
    upstream.faults.answer("HEAD .*/manifests/", 200, b"", None, Docker_Content_Digest=str(digest), **says)
    for _ in range(3):
        answer = worker.get()
        assert (answer.digest, answer.data, answer.media_type) == (digest, document(1), OCI_MANIFEST)
        head = worker.head()
        assert (head.size, head.media_type) == (len(document(1)), OCI_MANIFEST)
    assert len(upstream.requests("GET", "/manifests/")) == 1


def test_what_is_in_front_of_a_registry_ends_no_tag(upstream: FakeUpstream, worker: Worker) -> None:
    digest = publish(upstream, 1)
    worker.get()
    page = {"Content_Type": "text/html"}
    for status, body, headers in (
        (404, b'{"errors": []}', {"Content_Type": "application/json"}),
        (404, b'{"detail": {"errors": [{"code": "x"}]}}', {"Content_Type": "application/json"}),
        (200, b'{"status": "maintenance"}', {"Content_Type": "application/json"}),
        (404, b"404 page not found\n", {"Content_Type": "text/plain"}),
        (404, b'{"message":"no Route matched"}', {"Content_Type": "application/json"}),
        (403, b"<!DOCTYPE html><title>Just a moment...</title>", page),
        (401, b"<html>Authorization Required</html>", page),
        (200, b"<html>Please log in</html>", page),
    ):
        upstream.faults.answer("/v2/", status, body, times=2, **headers)
        answer = worker.get()
        assert (answer.outcome, answer.digest) == (Outcome.STALE, digest), (status, body)
        assert answer.reason
        upstream.faults.answer("/v2/", status, body, times=2, **headers)
        with pytest.raises(UpstreamError) as error:
            worker.get(Tag.parse("cold"))
        assert error.value.status == 502
        upstream.reset_faults()
    assert worker.get().outcome is Outcome.REVALIDATED


def test_a_digest_of_another_repository_needs_a_proof(upstream: FakeUpstream, worker: Worker) -> None:
    digest = publish(upstream, 1)
    worker.get()
    with pytest.raises(ManifestUnknown):
        worker.get(digest, OTHER)
    publish(upstream, 1, repository=str(OTHER))
    assert worker.get(digest, OTHER).data == document(1)
    assert upstream.gets(str(digest)) == 1


def test_a_head_downloads_nothing(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    digest = publish(upstream, 1)
    for reference in (LATEST, digest):
        head = worker.head(reference)
        assert (head.digest, head.media_type, head.size) == (digest, OCI_MANIFEST, len(document(1)))
        assert head.data is None
    assert upstream.counted_pulls == 0
    assert store.files("blobs") == set()
    worker.get()
    assert worker.head().outcome is Outcome.REVALIDATED


def test_lengths_of_heads_are_not_told_any_more_once_one_was_wrong(upstream: FakeUpstream, worker: Worker) -> None:
    digest = publish(upstream, 1)
    facts = {"Docker_Content_Digest": str(digest), "Content_Type": OCI_MANIFEST}
    upstream.faults.answer("HEAD .*/manifests/", 200, bytes(100), times=1, **facts)
    assert worker.get().data == document(1)
    other = publish(upstream, 2, repository=str(OTHER))
    facts = {"Docker_Content_Digest": str(other), "Content_Type": OCI_MANIFEST}
    upstream.faults.answer("HEAD .*/manifests/", 200, bytes(100), None, **facts)
    assert worker.head(repository=OTHER).size == len(document(2))


def test_a_flipped_bit_is_fetched_again(upstream: FakeUpstream, worker: Worker, store: Store) -> None:
    digest = publish(upstream, 1)
    worker.get()
    path = store.layout.blob(digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(document(1).replace(b"1", b"2"))
    assert worker.get().data == document(1)
    assert worker.get(digest).data == document(1)
    assert upstream.gets(str(digest)) == 2


def test_a_disk_that_keeps_nothing_costs_no_pull(
    upstream: FakeUpstream, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(upstream, 1)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for _ in range(2):
            assert worker.get().data == document(1)
    assert worker.get().data == document(1)
    assert worker.get().outcome is Outcome.REVALIDATED


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_any_document_and_both_algorithms(upstream: FakeUpstream, worker: Worker, algorithm: str) -> None:
    data = b"not even JSON"
    digest = Digest.parse(upstream.add_manifest(data, DOCKER_INDEX, tag="odd", algorithm=algorithm))
    answer = worker.get(Tag.parse("odd"))
    assert (answer.digest, answer.media_type, answer.data) == (digest, DOCKER_INDEX, data)
    assert worker.get(digest).outcome is Outcome.HIT


def test_a_moved_tag_that_does_not_come_costs_those_with_a_copy_no_more_than_their_patience(
    upstream: FakeUpstream, worker: Worker
) -> None:
    """The fetch goes on with the patience of those who have no copy; the next pull finds what it brought."""
    publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    upstream.faults.hold_before = f"GET .*{new}"
    began = time.monotonic()
    answer = worker.get(timeout_seconds=0.2)
    assert (answer.outcome, answer.data) == (Outcome.STALE, document(1))
    assert time.monotonic() - began < PATIENT
    with ThreadPoolExecutor(1) as pool:
        cold = pool.submit(worker.get, new)
        with pytest.raises(TimeoutError):
            cold.result(0.5)
        upstream.faults.release()
        assert cold.result(SECONDS).data == document(2)
    assert worker.get(timeout_seconds=SECONDS).data == document(2)
    assert upstream.gets(str(new)) == 1


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_slow_answer_is_heard_by_the_next_pull(upstream: FakeUpstream, worker: Worker, method: str) -> None:
    """A healthy registry that takes longer than those with a copy wait must not be served as it was for ever."""
    publish(upstream, 1)
    worker.get()
    for number in (2, 3):
        new = publish(upstream, number)
        upstream.faults.hold_before = "HEAD"
        ask = getattr(worker, method)
        while not any(each.alive for each in upstream.requests("HEAD")):
            answer = ask(timeout_seconds=0.2)
            assert (answer.outcome, answer.data) == (Outcome.STALE, document(number - 1))
        # Nobody waits any more.
        upstream.faults.release()
        eventually(lambda: not flying_at_all(worker))
        assert upstream.gets(str(new)) == 1

        # It has become no faster.
        upstream.faults.gate.clear()
        answer = ask(timeout_seconds=0.2)
        assert (answer.outcome, answer.data) == (Outcome.STALE, document(number))
        upstream.reset_faults()
        eventually(lambda: not flying_at_all(worker))


def test_what_moved_and_was_brought_behind_is_brought_once_and_only_if_nobody_waited(
    upstream: FakeUpstream, worker: Worker
) -> None:
    publish(upstream, 1)
    worker.get()
    new = publish(upstream, 2)
    assert worker.head().digest == new
    assert upstream.gets(str(new)) == 0


def test_after_waits_in_vain_the_copy_comes_at_once_and_upstream_is_asked_behind(
    upstream: FakeUpstream, worker: Worker
) -> None:
    publish(upstream, 1)
    worker.get()
    upstream.faults.hold_before = "HEAD"
    # A client that asks twice waits once: the second time it is known for how long the question has been out.
    assert [worker.get(timeout_seconds=0.2).reason for _ in range(2)] == [
        f"no answer in 0.2 s when we asked {HUB} for {APP}:{LATEST}"
    ] * 2
    for _ in range(3):
        # Such patience would outlast the test.
        answer = worker.get()
        assert (answer.outcome, answer.data) == (Outcome.STALE, document(1))
        assert "it is being tried again" in (answer.reason or "")
        assert upstream.heads("latest") == 2
    publish(upstream, 2)
    upstream.faults.release()
    eventually(lambda: not flying_at_all(worker))
    # What was found behind is here, and one answer that comes soon is enough to be waited for again.
    assert worker.get().data == document(2)
    eventually(lambda: worker.get().outcome is Outcome.REVALIDATED)


def test_access_that_ends_while_upstream_is_slow_ends_here(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    worker.get()
    upstream.faults.hold_before = "HEAD"
    for _ in range(2):
        worker.get(timeout_seconds=0.2)
    upstream.faults.status = 403
    upstream.faults.release()

    def denied() -> bool:
        try:
            worker.get()
        except Denied:
            return True
        return False

    eventually(denied)


def test_no_pull_waits_for_the_probe(upstream: FakeUpstream, worker: Worker) -> None:
    publish(upstream, 1)
    worker.get()
    upstream.faults.status = 503
    while "has been failing" not in (worker.get().reason or ""):
        pass
    upstream.faults.status, upstream.faults.hold_before = None, "HEAD"
    upstream.forget()
    # One of these sets it going; this one does not wait for it either.
    eventually(lambda: worker.get().outcome is Outcome.STALE and upstream.heads("latest"))
    for _ in range(9):
        assert "has been failing" in (worker.get().reason or "")
    assert upstream.heads("latest") == 1
    upstream.faults.release()
    eventually(lambda: worker.get().outcome is Outcome.REVALIDATED)


def test_a_silent_upstream_is_found_to_be_down_by_pulls_of_what_is_here(
    upstream: FakeUpstream, worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(upstream, 1)
    worker.get()
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_SECONDS", 0.3)
    upstream.faults.hold_before = "HEAD"
    eventually(
        lambda: worker.get(timeout_seconds=0.1).outcome is Outcome.STALE and "upstream is down" in caplog.messages
    )


def test_a_stopped_process_that_holds_a_tag_costs_those_with_a_copy_no_more_than_their_patience(
    upstream: FakeUpstream, worker: Worker, store: Store
) -> None:
    publish(upstream, 1)
    worker.get()
    path = store.layout.flight(f"tag {HUB}/{APP}:{LATEST}")
    began = time.monotonic()
    with LockFile(path) as lock:
        assert lock.acquire()
        assert worker.get(timeout_seconds=0.2).outcome is Outcome.STALE
        assert time.monotonic() - began < PATIENT
        lock.retire()
    assert worker.get(timeout_seconds=SECONDS).outcome is Outcome.REVALIDATED


@pytest.mark.parametrize("times", [1, 2])
def test_bytes_that_are_not_what_upstream_says_of_them_are_not_believed(
    upstream: FakeUpstream, worker: Worker, times: int
) -> None:
    """A registry that knows no HEAD: the digest beside the bytes is all there is to compare them to."""
    digest = publish(upstream, 1)
    upstream.faults.no_head = True
    upstream.faults.answer("GET .*latest", 200, document(2), times, Docker_Content_Digest=str(digest))
    if times == 1:
        assert worker.get().data == document(1)
    else:
        with pytest.raises(UpstreamCorrupt):
            worker.get()
