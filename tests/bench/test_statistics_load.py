"""The week that the benchmark simulates, in small: what is folded is what the load has counted for itself."""

from __future__ import annotations

from bench import statistics_load


def test_sums_are_right_to_the_byte_over_kills_and_midnights() -> None:
    lines = list(statistics_load.measure_week(2, 1500, None))
    # Enough pulls that more images occur than are counted by name.
    compared = [line for line in lines if line.startswith(("requests", "bytes", "pulls: ", "clients"))]
    assert [line.partition(": ")[2] for line in compared] == ["right"] * 6
    assert any(line.endswith(", 0 bounds broken") for line in lines)
