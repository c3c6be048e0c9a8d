"""How many requests at once: decided by what arrived, when."""

import pytest

from registry_cache.pull.transfer.concurrency import FIRST_SAMPLE_SIZE, MIN_GAIN, WINDOW_SECONDS, RequestPace

SLOW = FIRST_SAMPLE_SIZE  # bytes a second of one connection: a second until the first look is over


def run(pace: RequestPace, speeds: list[float]) -> list[int]:
    """The width after each window, in which so many bytes a second arrived by all requests together."""
    now, widths = 0.0, []
    for speed in speeds:
        pace.measure(now)
        seconds = FIRST_SAMPLE_SIZE / speed if pace.width == 1 else WINDOW_SECONDS
        for _ in range(4):
            now += seconds / 4
            pace.arrived(int(speed * seconds / 4) + 1, now)
        widths.append(pace.width)
    return widths


@pytest.mark.parametrize(
    ("most", "speeds", "widths"),
    [
        (1, [1, 1], [1, 1]),
        (4, [1, 2, 4], [2, 4, 4]),
        (6, [1, 2, 4, 6], [2, 4, 6, 6]),
        (16, [1, 2, 4, 8, 16], [2, 4, 8, 16, 16]),
        # The line is full with one: back to it, for good.
        (4, [1, 1, 9], [2, 1, 1]),
        (4, [1, MIN_GAIN - 0.05, 9], [2, 1, 1]),
        (4, [1, MIN_GAIN + 0.05], [2, 4]),
        # Full with two.
        (8, [1, 2, 2, 9], [2, 4, 2, 2]),
        # More make it slower.
        (4, [1, 0.5, 9], [2, 1, 1]),
        # No connection's limit.
        (4, [100, 100], [1, 1]),
    ],
)
def test_more_as_long_as_more_make_it_faster(most: int, speeds: list[float], widths: list[int]) -> None:
    assert run(RequestPace(most, 0.0), [SLOW * speed for speed in speeds]) == widths


def test_nothing_is_decided_before_the_newest_request_has_a_byte() -> None:
    pace = RequestPace(4, 0.0)
    pace.arrived(FIRST_SAMPLE_SIZE, 1.0)
    assert pace.width == 2
    # The other one's bytes go on, and say nothing of whether a second helps.
    for second in range(2, 100):
        pace.arrived(10 * SLOW, float(second))
    assert pace.width == 2
    pace.measure(100.0)
    pace.arrived(2 * SLOW, 100.0 + WINDOW_SECONDS)
    assert pace.width == 4


def test_a_clock_that_stands_still_is_no_error() -> None:
    pace = RequestPace(4, 0.0)
    pace.arrived(FIRST_SAMPLE_SIZE, 0.0)
    assert pace.width == 1
