"""``registry-cache verify``"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import (
    add_force_argument,
    add_json_argument,
    add_max_time_argument,
    deadline,
    print_report,
    silence_log,
)
from registry_cache.commands.progress import PassDisplay
from registry_cache.commands.rules import require_same_rules
from registry_cache.commands.start import become_owner, become_owner_if_allowed, start
from registry_cache.config.sizes import parse_size
from registry_cache.policy.share import Share
from registry_cache.store.last_runs import note_verify
from registry_cache.store.layout import Layout
from registry_cache.upkeep.verify import Verify, VerifyResult, VerifyTask
from registry_cache.upkeep.verify_text import VerifyReport

# The disk of a running server has other readers; this is a third of what a mirror of two disks gives.
RATE = "50MB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "--repair", action="store_true", help="move damaged bytes into the quarantine: the next pull fetches them again"
    )
    parser.add_argument(
        "--share",
        type=_share,
        default=Share(),
        metavar="1/30",
        help="re-hash a part, by the day (default: all)",
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        default=_rate(RATE),
        metavar=RATE,
        help=f"bytes a second; 0: no bound (default: {RATE})",
    )
    add_force_argument(parser)
    add_max_time_argument(parser, "2h", "stop after so long")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Verify everything stored; safe beside a running server, a cleanup, and another verify."""
    # Only here: with it comes all that serves, and --help must not wait for that. Before we become the store's owner,
    # who perhaps may not read it.
    from registry_cache.wiring.statistics import command_recorder

    silence_log()
    config = start(arguments, environ)
    (become_owner if arguments.repair else become_owner_if_allowed)(config.root)
    # The local day, as cron counts days: two runs a day apart must never share one.
    now, in_time = datetime.now(UTC).astimezone(), deadline(arguments.max_time)
    task = VerifyTask(now.timestamp(), now.toordinal(), arguments.share, arguments.rate, arguments.repair)
    with PassDisplay(shown=not arguments.json) as display:
        layout = Layout.find(config.root)
        if layout and arguments.repair:
            require_same_rules(arguments, config, layout)
        result: VerifyResult | None = VerifyResult()
        if layout:
            with command_recorder(config) if arguments.repair else contextlib.nullcontext():
                result = Verify(layout, task, in_time, display.progress).run()
        if layout and result:
            note_verify(layout, task.now, result.left)
    return print_report(VerifyReport(task, result), as_json=arguments.json)


def _share(text: str) -> Share:
    try:
        return Share.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a share: write a fraction of at most 1, such as 1/30"
        ) from None


def _rate(text: str) -> int | None:
    try:
        if text.isdecimal() and int(text):
            # As bytes, `--rate 5` would take years.
            raise ValueError("a number without a unit")
        found = parse_size(text)
        if found.share:
            raise ValueError("a share")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write bytes a second, such as {RATE}") from None
    return found.bytes_of(0)
