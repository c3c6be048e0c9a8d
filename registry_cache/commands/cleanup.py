"""``registry-cache cleanup``"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.shared_cleanup import LeftToAnother, SharedCleanupReport, clean
from registry_cache.cluster.bucket_turn import BucketTurn
from registry_cache.cluster.errors import RedisAway
from registry_cache.commands.command import (
    CommandError,
    add_force_argument,
    add_json_argument,
    add_max_time_argument,
    deadline,
    print_report,
)
from registry_cache.commands.progress import PassDisplay
from registry_cache.commands.rules import require_same_rules
from registry_cache.commands.start import become_owner, become_owner_if_allowed, start
from registry_cache.config import Config
from registry_cache.config.bucket import S3Config
from registry_cache.runtime import event_queue
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cleanup import Cleanup, CleanupResult
from registry_cache.upkeep.cleanup_text import CleanupReport
from registry_cache.upkeep.priority import step_back
from registry_cache.wiring.bucket import bucket_settings
from registry_cache.wiring.nodes import bucket_turn, exchange_pins
from registry_cache.wiring.statistics import command_recorder
from registry_cache.wiring.storage import bounds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would go, and why; change nothing")
    parser.add_argument(
        "--shared", action="store_true", help="hold the bucket to cluster.max_size instead of the store"
    )
    add_force_argument(parser)
    add_max_time_argument(parser, "10m", "stop after so long; the next goes on")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Evict what the configuration says; safe beside a running server, and beside another cleanup."""
    config = start(arguments, environ)
    if arguments.shared:
        return _clean_bucket(config, dry_run=arguments.dry_run, as_json=arguments.json)
    # First, as root: the owner may not write into a file of /proc that was root's.
    step_back()
    (become_owner_if_allowed if arguments.dry_run else become_owner)(config.root)
    now, in_time = datetime.now(UTC).astimezone(), deadline(arguments.max_time)
    with PassDisplay(shown=not arguments.json) as display:
        layout = Layout.find(config.root)
        result: CleanupResult | None = CleanupResult()
        if layout is not None:
            require_same_rules(arguments, config, layout)
            if not arguments.dry_run:
                # What was pinned on another node may not have come here yet, if no server runs.
                exchange_pins(config)
            cleanup = Cleanup(layout, bounds(config, layout), now.timestamp(), in_time, display.progress)
            result = cleanup.dry_run() if arguments.dry_run else _evict(config, cleanup)
    report = CleanupReport(now, result, arguments.dry_run)
    return print_report(report, as_json=arguments.json)


def _evict(config: Config, cleanup: Cleanup) -> CleanupResult | None:
    with command_recorder(config):
        try:
            return cleanup.run()
        finally:
            event_queue.add_evictions(cleanup.result.evicted, cleanup.result.evicted_bytes)


def _clean_bucket(config: Config, *, dry_run: bool, as_json: bool) -> int:
    if config.s3 is None:
        raise CommandError("there is no bucket: storage.s3 is not configured")
    max_size = config.cluster.max_size.amount if config.cluster and not config.cluster.max_size.share else 0
    if not max_size:
        raise CommandError("cluster.max_size is not given in bytes: nothing says how much the bucket may hold")

    # A dry run keeps nobody from it.
    turn = None if dry_run else bucket_turn(config)
    if turn is None:
        return print_report(_hold_to_size(config.s3, int(max_size), dry_run=dry_run), as_json=as_json)
    if node := _taken_by(turn):
        return print_report(LeftToAnother(node), as_json=as_json)
    with turn.held():
        report = _hold_to_size(config.s3, int(max_size), dry_run=False)
    return print_report(report, as_json=as_json)


def _taken_by(turn: BucketTurn) -> str:
    """Return whose turn it is; "" for ours, and where nobody can be asked: two at once do no harm."""
    try:
        return turn.take()
    except RedisAway:
        return ""


def _hold_to_size(s3: S3Config, max_size: int, *, dry_run: bool) -> SharedCleanupReport:
    # Only here: they import boto3.
    from registry_cache.bucket.objects import Objects, bound_memory

    bound_memory()
    try:
        return clean(Objects(bucket_settings(s3)), max_size, time.time(), dry_run=dry_run)
    except (BucketAway, ObjectRefused) as error:
        raise CommandError(f"the bucket cannot be cleaned: {error}; registry-cache check says more", 1) from error
