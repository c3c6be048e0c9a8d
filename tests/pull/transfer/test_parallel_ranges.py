"""A large blob by several requests at once: every byte once, in order, whatever happens to one of them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import RegistryError, TooManyRequests, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull import source
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer import concurrency, parallel_ranges
from registry_cache.pull.transfer.parallel_ranges import ParallelRanges, PartBudget
from tests.harness.images import random_bytes
from tests.harness.pull_rig import Body
from tests.harness.store_rig import HUB_APP
from tests.harness.waiting import eventually

PART = 1000
DATA = random_bytes(24 * PART - 7, seed=1)
DIGEST = Digest.of(DATA)


@dataclass
class Trouble:
    """What goes wrong with one request, counted from the first. ``cut``: after so many bytes."""

    cut: int | None = None
    refuse: RegistryError | None = None
    whole: bool = False
    to_the_end: bool = False
    size: int | None = None
    unsized: bool = False


@dataclass
class Registry:
    """Holds ``DATA``; one connection gives a chunk each time that ``turn`` lets it, or as it likes."""

    troubles: dict[int, Trouble] = field(default_factory=dict)
    asked: list[tuple[int, int | None]] = field(default_factory=list)
    given: int = 0
    peak: int = 0
    _open: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def source(self, requests: int, expected: int | None) -> BlobSource:
        return BlobSource(HUB_APP, self._ask, requests, lambda: expected)

    def _ask(self, start: int, again: bool, stop: int | None = None) -> Body:
        with self._mutex:
            trouble = self.troubles.get(len(self.asked), Trouble())
            self.asked.append((start, stop))
            if trouble.refuse:
                raise trouble.refuse
            self._open += 1
            self.peak = max(self.peak, self._open)
        if trouble.whole or trouble.to_the_end:
            stop = None
        data = DATA[start:stop]
        error = None
        if trouble.cut is not None and trouble.cut < len(data):
            data, error = data[: trouble.cut], UpstreamUnavailable("cut")
        ends = None if stop is None or trouble.whole else min(stop, len(DATA))
        ends = len(DATA) if trouble.to_the_end else ends
        size = None if trouble.unsized else len(DATA) if trouble.size is None else trouble.size
        return _Given(self, data, start, size, 100, error, ends)

    def gave(self, size: int) -> None:
        with self._mutex:
            self.given += size

    def closed(self) -> None:
        with self._mutex:
            self._open -= 1


class _Given(Body):
    def __init__(
        self,
        registry: Registry,
        data: bytes,
        start: int,
        size: int | None,
        chunk: int,
        error: BaseException | None,
        stop: int | None,
    ) -> None:
        super().__init__(data, start, size, chunk, error, stop=stop)
        self._registry = registry
        self._open = True

    def __iter__(self) -> Iterator[bytes]:
        for chunk in super().__iter__():
            self._registry.gave(len(chunk))
            yield chunk

    def close(self) -> None:
        if self._open:
            self._open = False
            self._registry.closed()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything small, every connection slow, and every further request worth it."""
    monkeypatch.setattr(parallel_ranges, "PART_SIZE", PART)
    monkeypatch.setattr(parallel_ranges, "MIN_SPLIT_SIZE", 4 * PART)
    monkeypatch.setattr(concurrency, "FIRST_SAMPLE_SIZE", PART // 2)
    monkeypatch.setattr(concurrency, "FAST_ENOUGH", float("inf"))
    monkeypatch.setattr(concurrency, "WINDOW_SECONDS", 0.0)
    monkeypatch.setattr(concurrency, "MIN_GAIN", 0.0)
    monkeypatch.setattr(source, "_FIRST_PAUSE", 0.0)


def split(
    registry: Registry, room: PartBudget | None = None, requests: int = 4, expected: int | None = len(DATA)
) -> ParallelRanges:
    return ParallelRanges(
        DIGEST, registry.source(requests, expected), room or PartBudget(), itertools.count(1).__next__
    )


def pull(splits: ParallelRanges, start: int = 0) -> bytes:
    """What a download makes of it: every break is followed by a request behind the last byte."""
    got = bytearray(DATA[:start])
    for _ in range(20):
        try:
            with closing(splits.open(len(got), len(got) > start)) as body:
                for chunk in body:
                    got += chunk
        except UpstreamUnavailable:
            continue
        return bytes(got)
    raise AssertionError("more tries than there is trouble")


def test_every_byte_is_asked_for_and_sent_once() -> None:
    registry, room = Registry(), PartBudget()
    assert pull(split(registry, room)) == DATA
    assert registry.given == len(DATA)
    assert 1 < registry.peak <= 4
    spans = sorted((start, stop or len(DATA)) for start, stop in registry.asked)
    assert [start for start, _ in spans] == [0, *(min(stop, len(DATA)) for _, stop in spans[:-1])]
    assert_all_given_back(room)


def assert_all_given_back(room: PartBudget) -> None:
    for _ in range(parallel_ranges.MAX_PARTS_AHEAD):
        assert room.take()
    assert not room.take()


@pytest.mark.parametrize("start", [1, 999, 5 * PART, 19 * PART])
def test_a_partial_is_gone_on_with(start: int) -> None:
    registry = Registry()
    assert pull(split(registry), start) == DATA
    assert registry.given == len(DATA) - start
    assert len(registry.asked) > 1


@pytest.mark.parametrize(
    ("requests", "expected", "start"),
    [(1, len(DATA), 0), (4, None, 0), (4, 4 * PART - 1, 0), (4, len(DATA), 21 * PART)],
    ids=["switched off", "of unknown size", "small", "nearly here"],
)
def test_otherwise_it_is_one_plain_request(requests: int, expected: int | None, start: int) -> None:
    registry = Registry()
    assert pull(split(registry, None, requests, expected), start) == DATA
    assert registry.asked == [(start, None)]


@pytest.mark.parametrize("trouble", [Trouble(whole=True), Trouble(to_the_end=True)])
def test_an_upstream_that_minds_no_range_sends_everything_once(trouble: Trouble) -> None:
    registry = Registry({0: trouble})
    assert pull(split(registry)) == DATA
    assert len(registry.asked) == 1
    assert registry.given == len(DATA)


def test_a_part_of_a_whole_that_upstream_does_not_measure_is_not_taken_for_the_whole() -> None:
    registry = Registry({0: Trouble(unsized=True)})
    assert pull(split(registry)) == DATA
    assert registry.asked == [(0, PART), (0, None)]


def test_a_manifest_that_lies_about_the_size_costs_nothing() -> None:
    registry = Registry()
    assert pull(split(registry, expected=10 * len(DATA))) == DATA
    assert registry.given == len(DATA)


def test_cuts_of_any_of_them_are_mended_where_they_are() -> None:
    registry = Registry({0: Trouble(cut=300), 1: Trouble(cut=500), 3: Trouble(cut=0), 5: Trouble(cut=999)})
    assert pull(split(registry)) == DATA
    assert registry.given == len(DATA)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(refuse=TooManyRequests("429")),
        Trouble(whole=True),
        Trouble(size=5),
        Trouble(to_the_end=True),
    ],
    ids=["refused", "range ignored", "another blob's", "too much"],
)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_odd_answers_ahead_end_it_and_the_rest_comes_by_one_request(trouble: Trouble, number: int) -> None:
    registry, room = Registry({number: trouble}), PartBudget()
    assert pull(split(registry, room)) == DATA
    assert [stop for _, stop in registry.asked].count(None) == 1
    assert_all_given_back(room)


def test_memory_is_bounded_by_the_room_that_all_share() -> None:
    registry, room = Registry(), PartBudget(2)
    assert pull(split(registry, room)) == DATA
    assert registry.peak <= 3


def test_without_any_room_the_rest_comes_by_one_request() -> None:
    registry = Registry()
    assert pull(split(registry, PartBudget(0))) == DATA
    assert registry.asked == [(0, PART), (PART, None)]


def test_who_stops_reading_ends_what_is_ahead() -> None:
    registry, room = Registry(), PartBudget()
    threads = threading.active_count()
    body = split(registry, room).open(0, False)
    reader = iter(body)
    while len(registry.asked) < 3:
        next(reader)
    body.close()
    assert_all_given_back(room)
    eventually(lambda: threading.active_count() <= threads)
    assert registry.given < len(DATA)


troubles = st.builds(
    Trouble,
    cut=st.one_of(st.none(), st.integers(0, PART)),
    refuse=st.sampled_from([None, None, UpstreamUnavailable("503"), TooManyRequests("429")]),
    whole=st.booleans(),
    size=st.sampled_from([None, None, 5]),
)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(1, 12), troubles, max_size=5))
def test_any_trouble_ends_with_the_right_bytes_or_the_upstreams_error(script: dict[int, Trouble]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        shrink(patched)
        patched.setattr(time, "sleep", lambda _: None)
        registry, room = Registry(script), PartBudget()
        try:
            assert pull(split(registry, room)) == DATA
        except TooManyRequests:
            # Of a request that was nobody's to make up for: the one whose turn it was.
            assert any(each.refuse for each in script.values())
        assert_all_given_back(room)
