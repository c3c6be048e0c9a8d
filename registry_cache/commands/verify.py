"""``registry-cache verify``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from registry_cache.commands.bar import Bar
from registry_cache.commands.command import Command, Progress, add_json_argument, become_owner, duration
from registry_cache.config import load_config
from registry_cache.config.sizes import parse_size
from registry_cache.errors import RegistryError
from registry_cache.policy.share import Share

# A live server's disk has other readers; on two disks of a mirror it is a third of what one gives.
RATE = "50MB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "--repair", action="store_true", help="move damaged bytes into the quarantine: the next pull fetches them again"
    )
    parser.add_argument(
        "--share", type=_share, default=Share(), metavar="1/30", help="re-hash a part: which one follows from the day"
    )
    parser.add_argument(
        "--rate", type=_rate, default=_rate(RATE), metavar=RATE, help="read so much a second; 0 for no bound"
    )
    parser.add_argument(
        "--max-time", type=duration, default=timedelta(days=365), metavar="2h", help="stop after so long"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Look at everything stored; safe beside a running server, a cleanup, and another of its kind."""
    from registry_cache.upkeep import verify_text
    from registry_cache.upkeep.verify import Result, Task
    from registry_cache.wiring import verify

    # What the modules would log is what the report says.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    config = load_config(environ, create=False)
    # The day where cron lives: two runs a day apart must never fall on one.
    now = datetime.now(UTC).astimezone()
    deadline = time.monotonic() + arguments.max_time.total_seconds()
    task = Task(now.timestamp(), now.toordinal(), arguments.share, arguments.rate, arguments.repair)
    show = _Show() if sys.stderr.isatty() and not arguments.json else None
    try:
        become_owner(config.root)
        one = verify(config, task, lambda: time.monotonic() < deadline, show)
        result = one.run() if one else Result()
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    finally:
        if show:
            show.clear()
    report = verify_text.Report(task, result)
    status = verify_text.EXIT[report.state]
    if arguments.json:
        print(json.dumps(verify_text.document(report), indent=2))
    else:
        # What a cron line with >/dev/null must still tell.
        print("\n".join(verify_text.lines(report)), file=sys.stderr if status else sys.stdout)
    return status


class _Show:
    """What goes on, on a terminal: a bar where it is known how much there is to read."""

    def __init__(self) -> None:
        self._bar = Bar("re-hashing")
        self._line = Progress()

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        if total:
            self._bar(done, total)
        else:
            self._line(doing, done)

    def clear(self) -> None:
        self._line.clear()


def _share(text: str) -> Share:
    try:
        return Share.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write a fraction of at most 1, such as 1/30") from None


def _rate(text: str) -> int | None:
    try:
        found = parse_size(text)
        if found.share:
            raise ValueError("a share")
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write bytes a second, such as {RATE}") from None
    return found.bytes_of(0)


COMMAND = Command("verify", "re-hash what is stored, find what is damaged, and repair it", run, add_arguments)
