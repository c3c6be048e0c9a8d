"""What was wrong twice is not asked for again until a pause is over, and each pause is twice the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamCorrupt
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.pull.wrong_bytes import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MAX_PAUSES, WrongBytes
from registry_cache.store.layout import Layout

OWNER = FullName("docker.io", Repository("library/app"))
OTHER = FullName("docker.io", Repository("library/other"))
DIGEST = Digest.of(b"layer")
NOW = 1_800_000_000.0


class Time:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def wrong_bytes(layout: Layout, time: Time) -> WrongBytes:
    return WrongBytes(layout, time)


def left(wrong_bytes: WrongBytes, reference: Digest | Tag = DIGEST, owner: FullName = OWNER) -> float | None:
    """How many seconds of a rest are left."""
    try:
        wrong_bytes.check(owner, reference)
    except UpstreamCorrupt as error:
        return error.retry_after
    return None


def test_pauses_grow_up_to_a_bound(wrong_bytes: WrongBytes, time: Time) -> None:
    found = []
    for _ in range(9):
        wrong_bytes.pause(OWNER, DIGEST)
        pause = left(wrong_bytes)
        assert pause
        found.append(pause)
        time.now += pause
        assert left(wrong_bytes) is None
    assert found[:4] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert found[-1] == LONGEST_PAUSE_SECONDS


def test_they_begin_anew_after_an_hour_and_after_the_right_bytes(wrong_bytes: WrongBytes, time: Time) -> None:
    wrong_bytes.pause(OWNER, DIGEST)
    time.now += 2 * 3600
    wrong_bytes.pause(OWNER, DIGEST)
    assert left(wrong_bytes) == FIRST_PAUSE_SECONDS
    time.now += FIRST_PAUSE_SECONDS
    wrong_bytes.forget(OWNER, DIGEST)
    wrong_bytes.pause(OWNER, DIGEST)
    assert left(wrong_bytes) == FIRST_PAUSE_SECONDS


def test_whoever_was_sent_the_same_adds_nothing(wrong_bytes: WrongBytes, layout: Layout, time: Time) -> None:
    wrong_bytes.pause(OWNER, DIGEST)
    time.now += 1
    WrongBytes(layout, time).pause(OWNER, DIGEST)
    assert left(wrong_bytes) == FIRST_PAUSE_SECONDS - 1


def test_only_what_was_wrong_is_paused(wrong_bytes: WrongBytes) -> None:
    wrong_bytes.pause(OWNER, DIGEST)
    assert left(wrong_bytes, owner=OTHER) is None
    assert left(wrong_bytes, Digest.of(b"another")) is None
    assert left(wrong_bytes, Tag("1")) is None
    assert left(wrong_bytes, owner=FullName("ghcr.io", Repository("library/app"))) is None


def test_other_workers_and_a_later_server_know(wrong_bytes: WrongBytes, layout: Layout, time: Time) -> None:
    other = WrongBytes(layout, time)
    assert left(other) is None
    wrong_bytes.pause(OWNER, DIGEST)
    assert left(other) == left(WrongBytes(Layout(Path(layout.root)), time)) == FIRST_PAUSE_SECONDS
    other.forget(OWNER, DIGEST)
    assert left(wrong_bytes) is None
    assert json.loads(Path(layout.upstream_note("docker.io")).read_bytes()) == {}


def test_a_hostile_registry_fills_no_disk_with_them(wrong_bytes: WrongBytes, layout: Layout, time: Time) -> None:
    for number in range(MAX_PAUSES + 50):
        wrong_bytes.pause(OWNER, Digest.of(b"%d" % number))
        time.now += 0.01
    [topic] = json.loads(Path(layout.upstream_note("docker.io")).read_bytes()).values()
    assert len(topic) == MAX_PAUSES
    assert left(wrong_bytes, Digest.of(b"%d" % (MAX_PAUSES + 49))) is not None


@pytest.mark.parametrize("values", [7, [], {"library/app x": 1}, {f"library/app {DIGEST}": ["a", "b"]}])
def test_a_note_of_another_form_is_none(wrong_bytes: WrongBytes, layout: Layout, values: object) -> None:
    path = Path(layout.upstream_note("docker.io"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"wrong": values}))
    assert left(wrong_bytes) is None
    wrong_bytes.pause(OWNER, DIGEST)
    assert left(wrong_bytes) is not None


def test_a_clock_that_was_put_back_is_no_longer_pause(wrong_bytes: WrongBytes, time: Time) -> None:
    wrong_bytes.pause(OWNER, DIGEST)
    time.now -= 10 * LONGEST_PAUSE_SECONDS
    assert left(wrong_bytes) is None
