"""When a part of a blob that still arrives waits until all of it is verified."""

from __future__ import annotations

import pytest

from registry_cache.policy.verification_wait import MAX_WAIT_SECONDS, MEASURE_SECONDS, ArrivalFacts, seconds_to_wait

MB = 10**6


@pytest.mark.parametrize(
    ("arrival", "waited", "expected"),
    [
        # At 10 MB/s the last 10 MB are here in a second, and one byte more is not.
        (ArrivalFacts(10 * MB, 5 * MB, 0.5), 0.0, MEASURE_SECONDS),
        (ArrivalFacts(10 * MB + 1, 5 * MB, 0.5), 0.0, 0.0),
        (ArrivalFacts(1, 5 * MB, 0.5), 0.0, MEASURE_SECONDS),
        (ArrivalFacts(1000 * MB, 5 * MB, 0.5), 0.0, 0.0),
        # Nothing arrives any more: the same bytes, over a longer time.
        (ArrivalFacts(10 * MB, 5 * MB, 1.0), 0.5, 0.0),
        (ArrivalFacts(1, 0, 5.0), 0.0, 0.0),
        # All is here, and only the hash is missing.
        (ArrivalFacts(0, 0, 5.0), 0.0, MEASURE_SECONDS),
        # Too early to tell, however much came at first.
        (ArrivalFacts(1000 * MB, 5 * MB, 0.0), 0.0, MEASURE_SECONDS),
        (ArrivalFacts(1000 * MB, 0, 0.15), 0.0, MEASURE_SECONDS - 0.15),
        # Never longer than the bound.
        (ArrivalFacts(1, 5 * MB, 0.5), MAX_WAIT_SECONDS - 0.125, 0.125),
        (ArrivalFacts(1, 5 * MB, 0.5), MAX_WAIT_SECONDS, 0.0),
        (ArrivalFacts(1, 5 * MB, 0.5), MAX_WAIT_SECONDS + 1, 0.0),
        (ArrivalFacts(1, 0, 0.0), MAX_WAIT_SECONDS, 0.0),
    ],
)
def test_the_seconds(arrival: ArrivalFacts, waited: float, expected: float) -> None:
    assert seconds_to_wait(arrival, waited) == pytest.approx(expected)
