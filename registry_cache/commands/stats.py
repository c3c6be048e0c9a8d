"""``registry-cache stats`` and ``registry-cache pulls``"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from registry_cache.commands.command import add_json_argument, print_report
from registry_cache.commands.start import become_owner_if_allowed, start
from registry_cache.config import Config
from registry_cache.config.durations import parse_duration
from registry_cache.stats.statistics import Statistics
from registry_cache.store.layout import Layout
from registry_cache.upkeep import statistics_text
from registry_cache.upkeep.pulls_text import PullsReport

# Nothing is known of longer ago.
_LONGEST = timedelta(days=3660)
_DAYS = re.compile(r"([0-9]{1,4})([dw])", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    _add_since(parser, "24h")


def add_pulls_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    _add_since(parser, "7d")
    parser.add_argument(
        "query", nargs="?", default="", metavar="IMAGE|CLIENT|DIGEST", help="nginx:1.27, 10.0.0.7, a user, sha256:ab12…"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print what was served, saved and asked for; reads the numbers that the server wrote, and no blob."""
    statistics, _, now = _open(arguments, environ)
    since = (now - arguments.since).timestamp()
    report = statistics_text.read_statistics(statistics, since, now)
    blocks = statistics_text.BLOCKS if _can_print(statistics_text.BLOCKS) else statistics_text.PLAIN_BLOCKS
    return print_report(replace(report, blocks=blocks), as_json=arguments.json)


def run_pulls(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print who pulled an image, what a client pulled, or who has a digest."""
    statistics, config, now = _open(arguments, environ)
    pulls = statistics.pulls(arguments.query, (now - arguments.since).timestamp())
    report = PullsReport(pulls, now, config.statistics.has_journal)
    return print_report(report, as_json=arguments.json)


def _open(arguments: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Statistics, Config, datetime]:
    config = start(arguments, environ)
    become_owner_if_allowed(config.root)
    return Statistics(Layout(config.root)), config, datetime.now(UTC).astimezone()


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _add_since(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--since",
        type=time_span,
        default=default,
        metavar="TIME",
        help=f"how far back: 30m, 24h, 7d (default: {default})",
    )


def time_span(text: str) -> timedelta:
    """Return how far back ``text`` says to look. Raises ArgumentTypeError."""
    days = _DAYS.fullmatch(text)
    try:
        span = timedelta(days=int(days[1]) * {"d": 1, "w": 7}[days[2]]) if days else parse_duration(text)
    except ValueError as error:
        reason = f"{text!r} is {error}: write a number with its unit, such as 30m, 24h or 7d"
        raise argparse.ArgumentTypeError(reason) from None
    if not timedelta() < span <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range: write one such as 24h or 7d")
    return span
