"""The chart's geometry."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from registry_cache.ui.chart import HEIGHT, OUTCOMES, Column, draw

MIB = 1024 * 1024
COLUMNS = st.lists(
    st.builds(
        Column,
        st.just(0.0),
        st.dictionaries(st.sampled_from(OUTCOMES), st.integers(0, 2**50)),
        st.integers(0, 2**50),
    ),
    min_size=1,
    max_size=30,
)


def test_what_is_served_is_stacked_and_what_is_fetched_is_a_line() -> None:
    chart = draw([Column(0, {"hit": 2 * MIB, "miss": 1 * MIB}, 1 * MIB), Column(1, {"hit": 4 * MIB}, 0)])

    assert (chart.top, chart.width) == (4 * MIB, 2)
    assert chart.areas == [
        ("hit", "M0 200V200H1V0H2V400H1V400H0Z"),
        # On the two of the hits.
        ("miss", "M0 100V100H1V0H2V0H1V200H0Z"),
    ]
    assert chart.line == "M0 300V300H1V400H2"


def test_nothing_at_all_is_a_flat_line() -> None:
    chart = draw([Column(0, {}, 0)] * 3)
    assert (chart.areas, chart.line, chart.top) == ([], "M0 400V400H1V400H2V400H3", 1)


@given(COLUMNS)
def test_everything_is_inside_and_the_scale_is_round(columns: list[Column]) -> None:
    chart = draw(columns)
    highest = max(max(column.total, column.fetched) for column in columns)
    assert highest <= chart.top
    assert chart.top == 1 or chart.top <= 2.6 * highest
    for path in [chart.line, *(path for _, path in chart.areas)]:
        assert all(0 <= int(y) <= HEIGHT for y in re.findall(r"V(-?\d+)", path))
        assert all(0 <= int(x) <= len(columns) for x in re.findall(r"H(-?\d+)", path))
