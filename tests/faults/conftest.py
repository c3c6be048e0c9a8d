"""One server for all stories of this folder that need none of their own, and an upstream of its own for each story.

What a worker remembers of an upstream (failures, limits, tokens) it remembers by the upstream's name: stories that have
their own cannot disturb each other. The server has one worker, so that what one request taught it holds for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.story import Slots, Story
from tests.harness.upstream import FakeUpstream

# Upstreams as the harness sets them; ones with the default patience for a tag, where stories are of silence; and ones
# whose silence in mid-body is given up soon, but not because the machine is busy; and one whose blobs are not filled
# behind readers of ranges, however long a story takes.
SLOTS: dict[str, tuple[dict[str, Any], int]] = {
    "plain": ({}, 90),
    "silent": ({"tag_timeout": "2s"}, 10),
    "brisk": ({"read_timeout": "4s"}, 2),
    "held": ({"lazy": "hold"}, 1),
}


@pytest.fixture(scope="package")
def slots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slots]:
    free: dict[str, list[tuple[str, FakeUpstream]]] = {kind: [] for kind in SLOTS}
    settings: dict[str, Any] = {}
    default = FakeUpstream()
    for kind, (more, count) in SLOTS.items():
        for number in range(count):
            upstream = FakeUpstream()
            free[kind].append((f"{kind}-{number}", upstream))
            settings[f"{kind}-{number}"] = {"remoteurl": upstream.url, **more}
    everyone = [default, *(upstream for pairs in free.values() for _, upstream in pairs)]
    cache = CacheServer(tmp_path_factory.mktemp("faults"), default.url, config={"upstreams": settings}, workers=1)
    yield Slots(cache, free)
    for each in everyone:
        each.faults.release()
    cache.stop()
    for each in everyone:
        each.stop()
    # No story names it: whatever went wrong with the others, nothing was asked of this one.
    assert default.exchanges == []


@pytest.fixture
def make_story(slots: Slots) -> Iterator[Callable[[str], Story]]:
    """A function that gives an upstream of its own of a kind."""
    puller, told = Puller(slots.cache.url), []

    def make(kind: str) -> Story:
        name, upstream = slots.take(kind)
        told.append(upstream)
        return Story(name, upstream, slots.cache, puller, len(slots.cache.log_text()))

    begins = len(slots.cache.log_text())
    yield make
    for each in told:
        each.faults.release()
    puller.close()
    for each in told:
        each.stop()
        assert not each.problems
    assert "Traceback" not in slots.cache.log_text()[begins:]


@pytest.fixture
def story(make_story: Callable[[str], Story]) -> Story:
    """An upstream with the default settings, which nobody has asked anything yet."""
    return make_story("plain")


@pytest.fixture
def held(make_story: Callable[[str], Story]) -> Story:
    """One of which nothing is fetched but what was asked for."""
    return make_story("held")


@pytest.fixture
def brisk(make_story: Callable[[str], Story]) -> Story:
    """One that is given up after a few seconds of silence."""
    return make_story("brisk")
