"""``registry-cache list``"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from registry_cache.commands.command import CommandError, add_json_argument, print_report
from registry_cache.commands.start import become_owner_if_allowed, start
from registry_cache.config import Config
from registry_cache.stats.statistics import Statistics
from registry_cache.store.layout import Layout
from registry_cache.upkeep.image_list import ImageListReport, PullCounts, list_images

# Of the pulls that are counted for --sort pulls.
PULLS_SINCE = timedelta(days=30)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="a part of a name, or one with *")
    parser.add_argument(
        "--sort",
        choices=("name", "size", "used", "pulls"),
        default="name",
        help="by name, or the largest, used longest ago, or pulled most in 30 days first (default: name)",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the images that are stored; reads every repository's records, and asks no upstream."""

    config = start(arguments, environ)
    become_owner_if_allowed(config.root)
    layout, now = Layout.find(config.root), datetime.now(UTC).astimezone()
    statistics = Statistics(layout) if layout else None
    counts = _pull_counts(config, statistics, now) if arguments.sort == "pulls" else None
    images = list_images(layout, arguments.pattern, arguments.sort, counts) if layout else []
    return print_report(ImageListReport(images, now, arguments.pattern), as_json=arguments.json)


def _pull_counts(config: Config, statistics: Statistics | None, now: datetime) -> PullCounts:
    """Return what the journal of pulls knows. Raises CommandError where none is kept, StoreError."""
    if not config.statistics.has_journal:
        raise CommandError("pulls are not counted: statistics.journal.days is 0, or statistics.clients is false")
    if statistics is None:
        return Counter()
    pulls = statistics.pulls("", (now - PULLS_SINCE).timestamp(), limit=sys.maxsize)
    return Counter((f"{each.upstream}/{each.repository}", each.digest) for each in pulls)
