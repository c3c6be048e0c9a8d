"""What was wrong twice is not asked for again until a pause is over, and each pause is twice the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamCorrupt
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.wrong_bytes import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, MAX_RESTS, Rests
from registry_cache.store.layout import Layout

OWNER = ("docker.io", "library/app")
OTHER = ("docker.io", "library/other")
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
def rests(layout: Layout, time: Time) -> Rests:
    return Rests(layout, time)


def left(rests: Rests, reference: Digest | Tag = DIGEST, owner: tuple[str, str] = OWNER) -> float | None:
    """How many seconds of a rest are left."""
    try:
        rests.check(owner, reference)
    except UpstreamCorrupt as error:
        return error.retry_after
    return None


def test_pauses_grow_up_to_a_bound(rests: Rests, time: Time) -> None:
    found = []
    for _ in range(9):
        rests.begin(OWNER, DIGEST)
        pause = left(rests)
        assert pause
        found.append(pause)
        time.now += pause
        assert left(rests) is None
    assert found[:4] == [FIRST_PAUSE_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert found[-1] == LONGEST_PAUSE_SECONDS


def test_they_begin_anew_after_an_hour_and_after_the_right_bytes(rests: Rests, time: Time) -> None:
    rests.begin(OWNER, DIGEST)
    time.now += 2 * 3600
    rests.begin(OWNER, DIGEST)
    assert left(rests) == FIRST_PAUSE_SECONDS
    time.now += FIRST_PAUSE_SECONDS
    rests.end(OWNER, DIGEST)
    rests.begin(OWNER, DIGEST)
    assert left(rests) == FIRST_PAUSE_SECONDS


def test_whoever_was_sent_the_same_adds_nothing(rests: Rests, layout: Layout, time: Time) -> None:
    rests.begin(OWNER, DIGEST)
    time.now += 1
    Rests(layout, time).begin(OWNER, DIGEST)
    assert left(rests) == FIRST_PAUSE_SECONDS - 1


def test_only_what_was_wrong_rests(rests: Rests) -> None:
    rests.begin(OWNER, DIGEST)
    assert left(rests, owner=OTHER) is None
    assert left(rests, Digest.of(b"another")) is None
    assert left(rests, Tag("1")) is None
    assert left(rests, owner=("ghcr.io", "library/app")) is None


def test_other_workers_and_a_later_server_know(rests: Rests, layout: Layout, time: Time) -> None:
    other = Rests(layout, time)
    assert left(other) is None
    rests.begin(OWNER, DIGEST)
    assert left(other) == left(Rests(Layout(Path(layout.root)), time)) == FIRST_PAUSE_SECONDS
    other.end(OWNER, DIGEST)
    assert left(rests) is None
    assert json.loads(Path(layout.upstream_note("docker.io")).read_bytes()) == {}


def test_a_hostile_registry_fills_no_disk_with_them(rests: Rests, layout: Layout, time: Time) -> None:
    for number in range(MAX_RESTS + 50):
        rests.begin(OWNER, Digest.of(b"%d" % number))
        time.now += 0.01
    [topic] = json.loads(Path(layout.upstream_note("docker.io")).read_bytes()).values()
    assert len(topic) == MAX_RESTS
    assert left(rests, Digest.of(b"%d" % (MAX_RESTS + 49))) is not None


@pytest.mark.parametrize("values", [7, [], {"library/app x": 1}, {f"library/app {DIGEST}": ["a", "b"]}])
def test_a_note_of_another_form_is_none(rests: Rests, layout: Layout, values: object) -> None:
    path = Path(layout.upstream_note("docker.io"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"wrong": values}))
    assert left(rests) is None
    rests.begin(OWNER, DIGEST)
    assert left(rests) is not None


def test_a_clock_that_was_put_back_is_no_longer_rest(rests: Rests, time: Time) -> None:
    rests.begin(OWNER, DIGEST)
    time.now -= 10 * LONGEST_PAUSE_SECONDS
    assert left(rests) is None
