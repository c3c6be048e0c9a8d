"""What a command is, and what several of them share: reports, errors, the options --json and --max-time, durations."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TextIO

from registry_cache.config.durations import parse_duration
from registry_cache.config.problems import ConfigError
from registry_cache.upkeep.report import Report, json_document, text_lines


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the console script, and the names of its module and of two functions in it.

    ``run`` gets the arguments and the environment and returns the exit status; it may raise RegistryError and
    CommandError, which ``cli`` prints. ``add_arguments`` gets the command's parser.
    """

    name: str
    help: str
    module: str
    run: str = "run"
    add_arguments: str = "add_arguments"

    def load(self, parser: argparse.ArgumentParser) -> None:
        """Let ``parser`` know what the command takes and how to run it; only this imports its module."""
        module = importlib.import_module(f"registry_cache.commands.{self.module}")
        getattr(module, self.add_arguments)(parser)
        parser.set_defaults(run=getattr(module, self.run))


class CommandError(Exception):
    """A verb cannot do its work; the message says why. 2 is the exit status of a wrong command line."""

    def __init__(self, message: str, exit_status: int = 2) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def print_report(report: Report, *, as_json: bool, file: TextIO | None = None) -> int:
    """Print a report and return its exit status.

    Lines go to ``file``. Without one they go to standard output, or to standard error where something is wrong: a line
    of cron with >/dev/null must still show that.
    """
    if as_json:
        print(json.dumps(json_document(report), indent=2))
    else:
        for line in text_lines(report):
            print(line, file=file or (sys.stderr if report.exit_status else sys.stdout))
    return report.exit_status


def as_typed(error: ConfigError, arguments: argparse.Namespace) -> ConfigError:
    """Return ``error`` with the option's own name where ``--config`` named the file."""
    return error.renamed("REGISTRY_CACHE_CONFIG", "--config") if "config" in arguments else error


def silence_log() -> None:
    """Print no log lines: the command's own lines say the same."""
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    """For verbs that evict; ``rules.require_same_rules`` reads it."""
    parser.add_argument("--force", action="store_true", help="go on although the store's server has other rules")


def add_max_time_argument(parser: argparse.ArgumentParser, metavar: str, help_text: str) -> None:
    """``max_time`` is then what ``deadline`` takes."""
    parser.add_argument(
        "--max-time",
        type=_duration,
        default=timedelta(days=365),
        metavar=metavar,
        help=f"{help_text} (default: no limit)",
    )


def deadline(max_time: timedelta) -> Callable[[], bool]:
    """Return what tells whether ``max_time`` is not over yet."""
    end = time.monotonic() + max_time.total_seconds()
    return lambda: time.monotonic() < end


def _duration(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write a number with its unit, such as 10m") from None
