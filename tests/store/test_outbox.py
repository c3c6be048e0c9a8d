"""The outbox: what the bucket has yet to get survives eviction and crashes, and has a bound."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.store.outbox import BLOB, MANIFEST, TAG, Outbox, open_bytes
from registry_cache.store.record_format import TagRecord, read_shared_tag
from tests.harness.content import OCI_MANIFEST
from tests.harness.store_rig import APP, HUB, HUB_APP, Store


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return Outbox(store.layout)


def test_what_is_evicted_can_still_be_sent(store: Store, outbox: Outbox) -> None:
    digest = store.put(b"bytes")
    outbox.add_blob(HUB_APP, digest)
    os.unlink(store.layout.blob(digest))

    [entry] = outbox.entries()

    assert (entry.kind, entry.upstream, entry.repository, entry.name) == (BLOB, HUB, str(APP), str(digest))
    with open_bytes(entry) as file:
        assert file.read() == b"bytes"


def test_entries_come_out_oldest_first_and_go_when_they_were_sent(store: Store, outbox: Outbox) -> None:
    digest = store.put(b"{}")
    now = datetime(2026, 1, 2, tzinfo=UTC)
    record = TagRecord(digest, OCI_MANIFEST, 2, now, now, None)
    outbox.add_manifest(HUB_APP, digest, "a/b")
    outbox.add_tag(HUB_APP, Tag.parse("1"), record)
    outbox.add_blob(HUB_APP, digest)

    entries = outbox.entries()

    assert [entry.kind for entry in entries] == [MANIFEST, TAG, BLOB]
    assert entries[0].media_type == "a/b"
    assert read_shared_tag(json.dumps(entries[1].record).encode()) == record
    state = outbox.state()
    assert (state.entries, state.oldest) == (3, entries[0].since)
    for entry in entries:
        outbox.remove(entry)
    assert outbox.is_empty()
    assert os.listdir(store.layout.outbox) == []


def test_a_blob_that_is_gone_makes_no_entry(outbox: Outbox) -> None:
    outbox.add_blob(HUB_APP, Digest.of(b"never here"))

    assert outbox.entries() == []
    assert outbox.state().oldest is None


def test_over_its_share_the_oldest_go_but_not_what_the_store_holds_anyway(store: Store, outbox: Outbox) -> None:
    kept, *evicted = (store.put(bytes([number]) * 1000) for number in range(4))
    for digest in (kept, *evicted):
        outbox.add_blob(HUB_APP, digest)
    layout = store.layout
    for digest in evicted:
        os.unlink(layout.blob(digest))

    gone = outbox.trim(2000)

    assert gone == 1
    assert [entry.name for entry in outbox.entries()] == [str(kept), *map(str, evicted[1:])]
    assert outbox.trim(2000) == 0


def test_what_a_crash_leaves_is_no_entry_and_is_swept(store: Store, outbox: Outbox) -> None:
    outbox.add_blob(HUB_APP, store.put(b"bytes"))
    folder = Path(store.layout.outbox)
    [note] = folder.glob("*.json")
    note.unlink()
    (folder / "00000000000000000001-aa.json").write_text("{")

    assert outbox.entries() == []
    assert len(list(folder.iterdir())) == 1
    outbox.trim(10**9)
    # Its worker may be about to write the note.
    assert len(list(folder.iterdir())) == 1


def test_old_links_without_a_note_are_swept(store: Store, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_cache.store.outbox._LOST_AFTER_SECONDS", -1.0)
    outbox.add_blob(HUB_APP, store.put(b"bytes"))
    folder = Path(store.layout.outbox)
    next(folder.glob("*.json")).unlink()

    outbox.trim(10**9)

    assert list(folder.iterdir()) == []
