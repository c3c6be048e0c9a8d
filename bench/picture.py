"""The results as bars, an SVG: each row relative to its limit, longer is better. Pure."""

from collections.abc import Sequence
from html import escape

from bench.report import SYSTEMS, Result, number
from bench.systems import BEHIND_NGINX, DISTRIBUTION, DISTRIBUTION_3, LIMIT, OURS

_COLOURS = {
    OURS: "#2b6cb0",
    BEHIND_NGINX: "#63b3ed",
    DISTRIBUTION: "#a0aec0",
    DISTRIBUTION_3: "#cbd5e0",
    LIMIT: "#2d3748",
}
_WIDTH, _LEFT, _SCALE = 1040, 380, 430  # _SCALE is a bar as long as the limit's
_BAR, _GAP, _TOP = 13, 16, 60
_LONGEST = 1.15  # of the limit: what is longer is cut there, and its number says how far it goes


def draw(results: Sequence[Result], title: str) -> str:
    """The whole document."""
    parts, y = _legend(title), _TOP
    for result in (each for each in results if any(map(each.spread, SYSTEMS))):
        rows = _row(result, y)
        parts += rows
        y += _height(result)
    parts.append(f'<line x1="{_LEFT + _SCALE}" y1="{_TOP - 6}" x2="{_LEFT + _SCALE}" y2="{y}" class="limit"/>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10}" font-family="sans-serif">'
    style = "<style>text{font-size:12px}.title{font-size:15px}.limit{stroke:#718096;stroke-dasharray:4 3}</style>"
    return "\n".join([head, style, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>", ""])


def share(result: Result, system: str) -> float | None:
    """How fast, of the limit; where there is none, of the best. None for a system that was not measured."""
    spreads = {each: found for each in SYSTEMS if (found := result.spread(each)) and found.median}
    if system not in spreads:
        return None
    medians = {each: spread.median for each, spread in spreads.items()}
    best = max(medians.values()) if result.row.more_is_better else min(medians.values())
    base = medians.get(LIMIT, best)
    return medians[system] / base if result.row.more_is_better else base / medians[system]


def _height(result: Result) -> int:
    return _BAR * sum(share(result, system) is not None for system in SYSTEMS) + _GAP


def _row(result: Result, y: int) -> list[str]:
    parts = [f'<text x="{_LEFT - 10}" y="{y + 12}" text-anchor="end">{escape(result.row.title)}</text>']
    for system in SYSTEMS:
        of_limit, spread = share(result, system), result.spread(system)
        if of_limit is None or spread is None:
            continue
        width = min(of_limit, _LONGEST) * _SCALE
        told = f"{number(spread.median)} {result.row.unit} · {of_limit:.2f}"
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLOURS[system]}"/>'
            f'<text x="{_LEFT + width + 6:.1f}" y="{y + 10}">{escape(told)}</text>'
        )
        y += _BAR
    return parts


def _legend(title: str) -> list[str]:
    parts = [f'<text x="10" y="22" class="title">{escape(title)}</text>']
    for number_, system in enumerate(SYSTEMS):
        x = _LEFT + number_ * 130
        parts.append(
            f'<rect x="{x}" y="32" width="11" height="11" fill="{_COLOURS[system]}"/>'
            f'<text x="{x + 16}" y="42">{escape(system)}</text>'
        )
    return parts
