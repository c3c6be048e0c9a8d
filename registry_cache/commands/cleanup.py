"""``registry-cache cleanup``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import (
    Command,
    add_force_argument,
    add_json_argument,
    add_max_time_argument,
    deadline,
    print_report,
)
from registry_cache.commands.progress import PassDisplay
from registry_cache.commands.start import become_owner, become_owner_if_allowed, start
from registry_cache.upkeep.priority import step_back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would go, and why; change nothing")
    add_force_argument(parser)
    add_max_time_argument(parser, "10m", "stop after so long; the next goes on")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Evict what the configuration says; safe beside a running server, and beside another cleanup."""
    from registry_cache.commands.rules import require_same_rules
    from registry_cache.store.layout import Layout
    from registry_cache.upkeep.cleanup import Cleanup, CleanupResult
    from registry_cache.upkeep.cleanup_text import CleanupReport
    from registry_cache.wiring import bounds

    config = start(arguments, environ)
    # First, as root: the owner may not write into a file of /proc that was root's.
    step_back()
    (become_owner_if_allowed if arguments.dry_run else become_owner)(config.root)
    now, in_time = datetime.now(UTC).astimezone(), deadline(arguments.max_time)
    with PassDisplay(shown=not arguments.json) as display:
        layout = Layout.find(config.root)
        result: CleanupResult | None = CleanupResult()
        if layout is not None:
            require_same_rules(arguments, config, layout)
            cleanup = Cleanup(layout, bounds(config, layout), now.timestamp(), in_time, display.progress)
            result = cleanup.dry_run() if arguments.dry_run else cleanup.run()
    report = CleanupReport(now.timestamp(), result, arguments.dry_run, now.tzinfo)
    return print_report(report, as_json=arguments.json)


COMMAND = Command("cleanup", "evict what is over its time or over the store's size", run, add_arguments)
