"""The loop that empties the outbox: order, and what one failure means for the others."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from registry_cache.bucket import sender
from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.sender import Sender
from registry_cache.oci.names import Tag
from registry_cache.store.bucket_note import BucketNote, BucketTrouble
from registry_cache.store.outbox import Outbox, OutboxEntry
from registry_cache.store.record_format import TagRecord
from tests.harness.store_rig import HUB_APP, Store


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(sender, "LOOK_SECONDS", 0.001)
    # Its end is the first look that finds nothing, however slow the machine is.
    monkeypatch.setattr(sender, "IDLE_SECONDS", 0.0)


@pytest.fixture
def outbox(store: Store) -> Outbox:
    """A tag, a manifest, and two blobs, put there in an order in which they must not be sent."""
    found = Outbox(store.layout)
    manifest, now = store.put(b"{}"), datetime.now(UTC)
    found.add_tag(HUB_APP, Tag.parse("1"), TagRecord(manifest, "a/b", 2, now, now))
    found.add_manifest(HUB_APP, manifest, "a/b")
    found.add_blob(HUB_APP, store.put(b"one"))
    found.add_blob(HUB_APP, store.put(b"two"))
    return found


@pytest.fixture
def note(store: Store) -> BucketNote:
    return BucketNote(store.layout)


def run(outbox: Outbox, note: BucketNote, send: Callable[[OutboxEntry], None]) -> None:
    Sender(outbox, 10**9, send, threading.Event(), note, lambda: None).run()


def test_what_is_named_goes_before_what_names_it(outbox: Outbox, note: BucketNote) -> None:
    sent: list[str] = []

    run(outbox, note, lambda entry: sent.append(entry.kind))

    assert sent == ["blob", "blob", "manifest", "tag"]
    assert outbox.is_empty()


def test_while_the_bucket_is_away_all_stays_and_is_sent_once_it_is_back(outbox: Outbox, note: BucketNote) -> None:
    sent: list[str] = []
    failures = iter([BucketAway(), BucketAway(), BucketAway()])

    def send(entry: OutboxEntry) -> None:
        for failure in failures:
            assert not outbox.is_empty()
            raise failure
        sent.append(entry.kind)

    run(outbox, note, send)

    assert sent == ["blob", "blob", "manifest", "tag"]
    assert outbox.is_empty()


def test_what_can_never_be_sent_is_in_nobodys_way(outbox: Outbox, note: BucketNote) -> None:
    sent: list[str] = []

    def send(entry: OutboxEntry) -> None:
        if entry.kind == "manifest":
            raise ObjectRefused("too large")
        sent.append(entry.kind)

    run(outbox, note, send)

    assert sent == ["blob", "blob", "tag"]
    assert outbox.is_empty()


def test_since_when_it_is_away_is_noted_until_it_takes_something(outbox: Outbox, note: BucketNote) -> None:
    noted: list[BucketTrouble | None] = []
    failures = iter([BucketAway("503 SlowDown")] * 3)

    def send(_: OutboxEntry) -> None:
        noted.append(note.read())
        for failure in failures:
            raise failure

    run(outbox, note, send)

    [trouble] = {each for each in noted if each}
    assert trouble.cause == "503 SlowDown"
    assert noted[0] is None
    assert note.read() is None


def test_another_reason_is_no_other_outage(note: BucketNote) -> None:
    note.write("503 SlowDown")
    first = note.read()
    note.write("403 AccessDenied")
    second = note.read()

    assert first
    assert second == BucketTrouble(first.since, "403 AccessDenied")


def test_when_it_is_over_the_rest_is_for_the_next_one(outbox: Outbox, note: BucketNote) -> None:
    note.write("503 SlowDown")
    over = threading.Event()

    Sender(outbox, 10**9, lambda _: over.set(), over, note, lambda: None).run()

    assert note.read(), "nobody has seen that it takes everything"
    assert len(outbox.entries()) in (2, 3)


def test_answers_without_an_end_are_the_end_of_the_process_that_waits_for_them() -> None:
    """Each has left a thread and a connection behind."""
    is_over = threading.Event()
    count = sender._end_after(3, is_over)

    count()
    count()
    assert not is_over.is_set()
    count()
    assert is_over.is_set()
