"""``registry-cache cleanup``"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from registry_cache.commands.command import Command, Progress, add_json_argument, become_owner, duration
from registry_cache.config import load_config
from registry_cache.errors import RegistryError
from registry_cache.upkeep.priority import step_back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would go, and why; change nothing")
    parser.add_argument(
        "--max-time",
        type=duration,
        default=timedelta(days=365),
        metavar="10m",
        help="stop after so long; the next goes on",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Evict what the configuration says; safe beside a running server, and beside another of its kind."""
    from registry_cache.upkeep import cleanup_text
    from registry_cache.upkeep.cleanup import Result
    from registry_cache.wiring import cleanup

    config = load_config(environ, create=False)
    step_back()
    now = datetime.now(UTC).astimezone()
    deadline = time.monotonic() + arguments.max_time.total_seconds()
    show_progress = Progress() if sys.stderr.isatty() and not arguments.json else lambda doing, count: None
    try:
        become_owner(config.root)
        one = cleanup(config, now.timestamp(), lambda: time.monotonic() < deadline, show_progress)
        result = Result() if one is None else one.rehearse() if arguments.dry_run else one.run()
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    finally:
        if isinstance(show_progress, Progress):
            show_progress.clear()
    report = cleanup_text.Report(now.timestamp(), result, arguments.dry_run)
    status = cleanup_text.EXIT[report.state]
    if arguments.json:
        print(json.dumps(cleanup_text.document(report), indent=2))
    else:
        # What a cron line with >/dev/null must still tell.
        print("\n".join(cleanup_text.lines(report, now.tzinfo)), file=sys.stderr if status else sys.stdout)
    return status


COMMAND = Command("cleanup", "evict what is over its time or over the store's size", run, add_arguments)
