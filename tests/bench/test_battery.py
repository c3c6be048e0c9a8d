"""The battery of bad clients, in small: no honest pull fails beside them. `python -m bench.battery` is the whole."""

from pathlib import Path

from bench import battery
from bench.hostile_registry import ATTACKS


def test_no_honest_pull_fails(tmp_path: Path) -> None:
    numbers = battery.run(tmp_path, seconds=5, crowd=20, abandoned=20, hostile_rate=10)
    assert set(numbers.pulls) == {"cold", "warm"}
    assert numbers.restarts == 0
    assert numbers.pings
    assert set(numbers.hostile) <= set(ATTACKS)
    assert sum(numbers.hostile.values()) > 10
