"""The table and the JSON document, made from the figures. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure import Figures
from bench.rows import MORE_IS_BETTER, Goal, Row
from bench.systems import BEHIND_NGINX, DISTRIBUTION, DISTRIBUTION_3, LIMIT, OURS

SYSTEMS = (OURS, BEHIND_NGINX, DISTRIBUTION, DISTRIBUTION_3, LIMIT)
# Whose median by whose.
_RATIOS = tuple((ours, theirs) for theirs in (LIMIT, DISTRIBUTION, DISTRIBUTION_3) for ours in (OURS, BEHIND_NGINX))
_NONE = "-"


@dataclass(frozen=True)
class Spread:
    """Several repetitions of one figure."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def percent(self) -> float:
        """How far the outermost lie from each other, of the median."""
        return 100 * (max(self.values) - min(self.values)) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Result:
    """A row with what each system's repetitions gave; a system that failed has none, and ``failed`` says why."""

    row: Row
    figures: Mapping[str, Sequence[Figures]]
    failed: Mapping[str, str]

    def spread(self, system: str, figure: str = "value") -> Spread | None:
        """None for a system that was not measured."""
        values = tuple(each[figure] for each in self.figures.get(system, ()) if figure in each)
        return Spread(values) if values else None

    def ratio(self, system: str, against: str) -> float | None:
        """The quotient of two medians, as they are."""
        ours, theirs = self.spread(system), self.spread(against)
        return ours.median / theirs.median if ours and theirs and theirs.median else None

    def base(self, goal: Goal) -> tuple[str | None, Spread | None]:
        """Return what a goal is compared with, and how that did; no Spread if it was not measured."""
        if goal.against is None:
            return None, Spread((1.0,))
        measured = [each for each in (goal.against, goal.instead) if each and self.spread(each, goal.figure)]
        against = measured[0] if measured else goal.against
        return against, self.spread(against, goal.figure)

    def met(self, goal: Goal) -> bool | None:
        """None where a figure is missing."""
        found, (_, base) = self.spread(goal.system, goal.figure), self.base(goal)
        if not found or not base:
            return None
        bound = goal.factor * base.median + goal.more
        more = self.row.more_is_better if goal.figure == "value" else goal.figure in MORE_IS_BETTER
        return found.median >= bound if more else found.median <= bound


def derive(row: Row, results: Iterable[Result]) -> Result:
    """A row whose values are another row's figure."""
    source, figure = row.of or ("", "")
    found = next(result for result in results if result.row.name == source)
    figures = {
        system: [{"value": each[figure]} for each in repetitions if figure in each]
        for system, repetitions in found.figures.items()
        if system != LIMIT or source != "cold"  # nothing is between client and upstream then
    }
    return Result(row, figures, found.failed)


def table(results: Sequence[Result]) -> str:
    """For a terminal: medians with their spread, ratios, and whether each goal is met."""
    titles = ["", "unit", *SYSTEMS, *(f"{_short(ours)}/{_short(theirs)}" for ours, theirs in _RATIOS), "goals"]
    lines = [titles, *(_line(result) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1, len(titles) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def notes(results: Sequence[Result]) -> list[str]:
    """What failed, each goal that is missed, what upstream sent for cold pulls, and how long a crowd took."""
    return [
        *(f"{each.row.name}: {system} FAILED: {why}" for each in results for system, why in each.failed.items()),
        *(f"{each.row.name}: missed: {words(goal, each)}" for each in results for goal in _missed_goals(each)),
        *(f"{each.row.name}: upstream sent {told}" for each in results if (told := _by_system(each, "upstream", " x"))),
        *(f"{each.row.name}: all over after {told}" for each in results if (told := _by_system(each, "seconds", " s"))),
    ]


def words(goal: Goal, result: Result) -> str:
    """A goal with the figure that there is."""
    more = result.row.more_is_better if goal.figure == "value" else goal.figure in MORE_IS_BETTER
    what = "" if goal.figure == "value" else f" {goal.figure}"
    found = result.spread(goal.system, goal.figure)
    against, base = result.base(goal)
    is_now = f"{found.median / base.median:.2f}" if found and base else "missing"
    of = f" x {against}" if against else ""
    of += f" + {goal.more:g}" if goal.more else ""
    return f"{goal.system}{what} {'≥' if more else '≤'} {goal.factor:g}{of}, is {is_now}"


def document(results: Sequence[Result]) -> list[dict[str, Any]]:
    """For JSON: everything that was measured, and every goal."""
    return [
        {
            "row": result.row.name,
            "title": result.row.title,
            "unit": result.row.unit,
            "better": "more" if result.row.more_is_better else "less",
            "systems": {system: _spreads(result, system) for system in SYSTEMS if result.figures.get(system)},
            "failed": dict(result.failed),
            "ratios": {f"{ours} / {theirs}": result.ratio(ours, theirs) for ours, theirs in _RATIOS},
            "goals": [{"goal": words(goal, result), "met": result.met(goal)} for goal in result.row.goals],
        }
        for result in results
    ]


def _spreads(result: Result, system: str) -> dict[str, Any]:
    names = sorted({name for each in result.figures[system] for name in each})
    spreads = {name: result.spread(system, name) for name in names}
    return {name: {"median": each.median, "values": each.values} for name, each in spreads.items() if each}


def _line(result: Result) -> list[str]:
    cells = [_cell(result, system) for system in SYSTEMS]
    ratios = [result.ratio(ours, theirs) for ours, theirs in _RATIOS]
    goals = [goal for goal in result.row.goals if result.base(goal)[1]]
    told = f"{sum(result.met(goal) is True for goal in goals)} of {len(goals)}" if goals else _NONE
    return [result.row.title, result.row.unit, *cells, *(f"{each:.2f}" if each else _NONE for each in ratios), told]


def _cell(result: Result, system: str) -> str:
    spread = result.spread(system)
    if not spread:
        return "failed" if system in result.failed else _NONE
    return number(spread.median) + (f" ±{spread.percent / 2:.0f}%" if len(spread.values) > 1 else "")


def number(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _missed_goals(result: Result) -> Iterable[Goal]:
    return (goal for goal in result.row.goals if result.met(goal) is False)


def _by_system(result: Result, figure: str, unit: str) -> str:
    spreads = ((system, result.spread(system, figure)) for system in SYSTEMS)
    return ", ".join(f"{system} {spread.median:.2f}{unit}" for system, spread in spreads if spread)


def _short(system: str) -> str:
    names = {OURS: "ours", BEHIND_NGINX: "nginx", DISTRIBUTION: "distr", DISTRIBUTION_3: "distr3", LIMIT: "limit"}
    return names[system]
