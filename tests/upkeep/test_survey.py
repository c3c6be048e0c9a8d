"""The look through the whole store, for who must not walk."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from registry_cache.oci.names import Repository
from registry_cache.oci.pattern import ImagePattern
from registry_cache.store import locks
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pin, Pins
from registry_cache.store.survey_file import SurveyFile
from registry_cache.upkeep.survey import Surveyor, look_through
from tests.harness.cleanup_rig import DAY, NOW, Shelf, snapshot
from tests.harness.store_rig import HUB
from tests.harness.waiting import eventually

OTHER = Repository("library/other")


def test_names_sums_and_what_goes_next(shelf: Shelf) -> None:
    shelf.image(shelf.layer(b"a" * 5000, ago=9 * DAY), tag="1", ago=2 * DAY)
    shelf.image(shelf.layer(b"b" * 3000, OTHER, ago=5 * DAY), repository=OTHER, ago=5 * DAY)
    damaged = Path(shelf.layout.quarantine) / "2026-01-01"
    damaged.mkdir(parents=True)
    (damaged / "sha256-ab-1").write_bytes(b"x")
    (damaged / "sha256-ab-1.json").write_bytes(b"{}")
    before = snapshot(shelf.root)

    assert look_through(shelf.layout, NOW)
    found = SurveyFile(shelf.layout).read()

    assert found is not None
    survey = found.survey
    assert found.names == b"\ndocker.io/library/app\ndocker.io/library/other\n"
    assert (survey.at, survey.repositories, survey.tags, survey.blobs, survey.quarantined) == (NOW, 2, 1, 4, 1)
    assert survey.bytes > 8000
    # An image's use is its layers': the first layer was not used nine days ago, but with its image.
    assert survey.oldest == NOW - 5 * DAY
    after = snapshot(shelf.root)
    assert {path for path in after if after[path] != before.get(path)} == {
        shelf.layout.survey,
        # Its lock was there for a moment.
        shelf.layout.locks,
    }


def test_what_is_pinned_does_not_go_next(shelf: Shelf) -> None:
    shelf.image(shelf.layer(b"a" * 5000, ago=9 * DAY), tag="1", ago=9 * DAY)
    shelf.image(shelf.layer(b"b" * 3000, OTHER, ago=5 * DAY), repository=OTHER, ago=5 * DAY)
    Pins(shelf.layout).add([Pin(HUB, ImagePattern.parse("library/app:1"))])

    look_through(shelf.layout, NOW)
    found = SurveyFile(shelf.layout).read()
    assert found is not None
    assert found.survey.oldest == NOW - 5 * DAY


def test_one_at_a_time(layout: Layout) -> None:
    with locks.hold_if_free(layout.survey_lock) as held:
        assert held
        assert not look_through(layout, NOW)
    assert not os.path.exists(layout.survey)


def test_a_file_that_cannot_be_read_is_none(layout: Layout) -> None:
    file = SurveyFile(layout)
    assert file.read() is None
    for damaged in (b"", b"no JSON\n", b'{"at": 1}\nname\n', b"[]\n"):
        Path(layout.survey).write_bytes(damaged)
        assert SurveyFile(layout).read() is None
    look_through(layout, NOW)
    found = file.read()
    assert found is not None
    assert (found.survey.oldest, found.names) == (None, b"\n")


def test_who_looks_gets_what_is_there_and_an_old_one_is_made_anew(layout: Layout) -> None:
    started, gate = threading.Semaphore(0), threading.Semaphore(0)
    now = NOW

    def start(layout: Layout) -> None:
        started.release()
        assert gate.acquire(timeout=20)
        look_through(layout, now)

    surveyor = Surveyor(layout, start, lambda: now)
    assert surveyor.look() is None
    # Nobody waits, and however many look, one is under way.
    assert surveyor.look() is None
    assert started.acquire(timeout=20)
    gate.release()
    eventually(lambda: surveyor.look())
    assert not started.acquire(timeout=0)

    now = NOW + 16
    found = surveyor.look()
    assert found is not None
    assert found.survey.at == NOW
    assert started.acquire(timeout=20)
    gate.release()
    eventually(lambda: (again := surveyor.look()) and again.survey.at == NOW + 16)


def test_a_process_of_its_own(shelf: Shelf) -> None:
    shelf.image(shelf.layer(b"a" * 5000), tag="1")
    surveyor = Surveyor(shelf.layout)
    surveyor.look()
    eventually(lambda: os.path.exists(shelf.layout.survey))
    found = surveyor.look()
    assert found is not None
    assert found.survey.repositories == 1
