"""Which ranges of cold blobs are fetched by themselves."""

import pytest

from registry_cache.policy.range_choice import (
    LARGEST_BLOB,
    MIB,
    RangeFacts,
    Running,
    Way,
    choose,
    is_time_to_ask,
    is_worth_filling,
    span_size,
)

SIZE = 200 * MIB
# At 10 MiB a second.
LINE = (10 * MIB, 1.0)


@pytest.mark.parametrize(
    ("why", "start", "stop", "size", "running", "way"),
    [
        ("a footer", SIZE - 47, SIZE, SIZE, None, Way.PIECES),
        ("some chunks", 50 * MIB, 52 * MIB, SIZE, None, Way.PIECES),
        ("so much that all is wanted", 0, 8 * MIB, SIZE, None, Way.DOWNLOAD),
        ("everything", 0, SIZE, SIZE, None, Way.DOWNLOAD),
        ("most of a little blob", 0, 2 * MIB, 3 * MIB, None, Way.DOWNLOAD),
        ("a blob that is here as soon as a part of it", 0, 10, 1000, None, Way.DOWNLOAD),
        ("the download has passed it", 10 * MIB, 11 * MIB, SIZE, Running(20 * MIB, *LINE), Way.DOWNLOAD),
        ("the download is near", 21 * MIB, 22 * MIB, SIZE, Running(20 * MIB, *LINE), Way.DOWNLOAD),
        ("the download is a second away", 30 * MIB, 31 * MIB, SIZE, Running(20 * MIB, *LINE), Way.PIECES),
        ("the download is slow", 21 * MIB, 22 * MIB, SIZE, Running(20 * MIB, 1000, 1.0), Way.PIECES),
        ("nobody knows how fast it is", 30 * MIB, 31 * MIB, SIZE, Running(20 * MIB), Way.PIECES),
        ("nobody knows, but it is close", 20 * MIB + 1, 21 * MIB, SIZE, Running(20 * MIB), Way.DOWNLOAD),
        ("it has stopped", 21 * MIB, 22 * MIB, SIZE, Running(20 * MIB, 0, 1.0), Way.PIECES),
        ("a large chunk far ahead", 100 * MIB, 120 * MIB, SIZE, Running(20 * MIB, *LINE), Way.PIECES),
        ("no layer is so large", 0, 1000, LARGEST_BLOB + 1, None, Way.DOWNLOAD),
        ("a large chunk with the verdict", 100 * MIB, SIZE, SIZE, Running(20 * MIB, *LINE), Way.DOWNLOAD),
    ],
)
def test_a_range_comes_the_way_that_is_sooner(
    why: str, start: int, stop: int, size: int, running: Running | None, way: Way
) -> None:
    assert choose(RangeFacts(start, stop, size, running, answer_seconds=0.1)) is way, why


def test_a_slow_upstream_is_not_asked_for_what_comes_before_its_answer() -> None:
    running = Running(20 * MIB, *LINE)
    assert choose(RangeFacts(30 * MIB, 31 * MIB, SIZE, running, answer_seconds=2.0)) is Way.DOWNLOAD


@pytest.mark.parametrize(
    ("start", "stop", "way"),
    [
        (21 * MIB, 22 * MIB, Way.PIECES),
        (19 * MIB, 20 * MIB, Way.DOWNLOAD),
        (100 * MIB, SIZE, Way.DOWNLOAD),
    ],
)
def test_what_is_here_waits_for_no_download_but_for_its_verdict(start: int, stop: int, way: Way) -> None:
    assert choose(RangeFacts(start, stop, SIZE, Running(20 * MIB, *LINE), 0.1, is_here=True)) is way


@pytest.mark.parametrize(
    ("here", "seconds", "filled"),
    [(1000, 0.0, False), (SIZE // 4, 0.0, True), (1000, 10.0, True), (SIZE // 5, 9.0, False)],
)
def test_what_is_asked_for_long_or_in_large_part_is_worth_having_whole(here: int, seconds: float, filled: bool) -> None:
    assert is_worth_filling(here, SIZE, seconds) is filled


@pytest.mark.parametrize(
    ("speed", "overlaps", "size"),
    [
        (0.0, True, 4 * MIB),
        (1e6, False, 4 * MIB),
        (20e6, True, 8_000_000),
        (20e6, False, 16 * MIB),
        (1e9, True, 16 * MIB),
    ],
)
def test_a_request_of_a_download_is_over_soon(speed: float, overlaps: bool, size: int) -> None:
    assert span_size(speed, overlaps=overlaps) == size


@pytest.mark.parametrize(
    ("read", "left", "answer_seconds", "is_time"),
    [(0, 4 * MIB, 0.05, False), (2 * MIB, 2 * MIB, 0.0, True), (0, MIB, 0.05, True), (MIB, 3 * MIB, 0.2, True)],
)
def test_the_next_request_is_made_while_its_answer_can_still_come_in_time(
    read: int, left: int, answer_seconds: float, is_time: bool
) -> None:
    assert is_time_to_ask(read, left, 10 * MIB, answer_seconds) is is_time
