"""The table, the document and the picture, from figures that nobody had to measure."""

import json
import xml.etree.ElementTree as ET

from bench.measure import Figures
from bench.picture import draw, share
from bench.plan import FULL, QUICK
from bench.report import Result, derive, document, notes, table, words
from bench.rows import Row, all_rows, select_rows
from bench.systems import BEHIND_NGINX, DISTRIBUTION, LIMIT, OURS

ROWS = {row.name: row for row in all_rows(FULL)}


def result(row: Row, **values: list[float]) -> Result:
    figures: dict[str, list[Figures]] = {
        {"nginx": BEHIND_NGINX}.get(name, name.replace("_", " ")): [{"value": each} for each in found]
        for name, found in values.items()
    }
    return Result(row, figures, {})


def test_a_row_tells_medians_spread_ratios_and_goals() -> None:
    found = result(ROWS["manifest"], ours=[900, 1000, 1100], nginx=[8000], distribution=[200], limit=[10000])
    line = table([found]).splitlines()[1].split("  ")
    cells = [cell.strip() for cell in line if cell.strip()]
    assert cells == [
        "warm manifest by digest", "requests/s", "1,000 ±10%", "8,000", "200", "-", "10,000",
        "0.10", "0.80", "5.00", "40.00", "-", "-", "2 of 2",
    ]  # fmt: skip


def test_where_less_is_better_the_goal_is_a_bound_from_above() -> None:
    found = result(ROWS["image"], ours=[6.9], nginx=[6.7], limit=[6.4])
    assert [found.met(goal) for goal in ROWS["image"].goals] == [False, True, None, None]
    assert notes([found]) == ["image: missed: ours ≤ 1.06 x limit, is 1.08"]


def test_the_newest_that_is_there_is_what_counts() -> None:
    old = result(ROWS["cold"], ours=[700.0], distribution=[1000.0])
    both = result(ROWS["cold"], ours=[700.0], distribution=[1000.0], distribution_3=[500.0])
    goal = ROWS["cold"].goals[0]
    assert (old.met(goal), both.met(goal)) == (False, True)
    assert words(goal, old) == "ours ≥ 1 x distribution, is 0.70"
    assert words(goal, both) == "ours ≥ 1 x distribution 3, is 1.40"


def test_a_goal_against_what_is_missing_is_not_counted() -> None:
    found = result(ROWS["cpu-warm"], ours=[0.1], nginx=[0.1], distribution=[0.2])
    assert table([found]).endswith(" 2 of 2")


def test_what_is_missing_is_a_dash_and_what_failed_says_so() -> None:
    found = Result(ROWS["tag"], {OURS: [{"value": 5.0}]}, {DISTRIBUTION: "it ended"})
    assert "failed" in table([found])
    assert notes([found]) == ["tag: distribution FAILED: it ended"]
    assert found.met(ROWS["tag"].goals[0]) is None


def test_the_document_is_json_and_the_picture_xml() -> None:
    found = [result(row, ours=[1.0, 2.0], limit=[3.0]) for row in ROWS.values()]
    rows = json.loads(json.dumps(document(found)))
    assert [row["row"] for row in rows] == list(ROWS)
    assert rows[0]["systems"]["ours"]["value"] == {"median": 1.5, "values": [1.0, 2.0]}
    assert ET.fromstring(draw(found, "<title>")).tag.endswith("svg")  # noqa: S314 (our own text)


def test_a_bar_is_as_long_as_the_share_of_the_limit() -> None:
    assert share(result(ROWS["manifest"], ours=[5.0], limit=[10.0]), OURS) == 0.5
    assert share(result(ROWS["image"], ours=[8.0], limit=[4.0]), OURS) == 0.5
    assert share(result(ROWS["tag"], ours=[5.0], distribution=[10.0]), OURS) == 0.5
    assert share(result(ROWS["tag"], ours=[5.0]), DISTRIBUTION) is None


def test_a_row_made_of_another_brings_it_along() -> None:
    assert [row.name for row in select_rows(FULL, ["cpu-warm"])] == ["blob-large", "memory", "cpu-warm"]
    source = Result(ROWS["blob-large"], {OURS: [{"value": 900.0, "cpu": 0.2}]}, {})
    spread = derive(ROWS["cpu-warm"], [source]).spread(OURS)
    assert spread is not None
    assert spread.median == 0.2


def test_a_quick_run_leaves_out_what_the_table_does_not_need() -> None:
    assert {row.name for row in select_rows(FULL, [])} - {row.name for row in select_rows(QUICK, [])} == {
        "image-narrow"
    }


def test_a_goal_may_allow_more_than_a_factor() -> None:
    found = result(ROWS["footer"], ours=[190.0], nginx=[210.0], limit=[150.0])
    assert [found.met(goal) for goal in ROWS["footer"].goals] == [True, False]
    assert words(ROWS["footer"].goals[1], found) == "ours behind nginx ≤ 1 x limit + 50, is 1.40"


def test_a_figure_is_compared_with_the_same_figure() -> None:
    figures = {OURS: [{"value": 80.0, "worst": 300.0}], LIMIT: [{"value": 70.0, "worst": 290.0}]}
    [goal] = [each for each in ROWS["ranges"].goals if (each.system, each.figure) == (OURS, "worst")]
    assert Result(ROWS["ranges"], figures, {}).met(goal)
