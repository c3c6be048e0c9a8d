"""The console script: ``registry-cache serve`` and its other verbs. Does not import flask, requests or gevent.

A command is a function that adds its arguments and one that runs it; exit status 2 means a configuration or a command
line that cannot be, with the report on standard error.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from registry_cache import __version__
from registry_cache.config import ConfigError, banner, load_config, show
from registry_cache.config.durations import parse_duration
from registry_cache.errors import RegistryError

SETTINGS = "python:registry_cache.gunicorn_settings"
APPLICATION = "registry_cache.app:from_environment()"


@dataclass(frozen=True, slots=True)
class Command:
    """One verb. ``run`` gets the arguments and the environment and returns the exit status."""

    name: str
    help: str
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def run_config(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every key in force and where it came from; secrets are masked. Makes no folder."""
    config = load_config(environ, create=False)
    for line in show.lines(config.in_force):
        print(line)
    for warning in banner.warnings(config):
        print(f"# {warning}")
    return 0


def run_serve(arguments: argparse.Namespace, environ: Mapping[str, str]) -> NoReturn:
    """Become gunicorn: signals, sockets handed over and the process id stay those of this process."""
    load_config(environ)
    command = [sys.executable, "-m", "gunicorn", "-c", SETTINGS, *arguments.gunicorn, APPLICATION]
    sys.stdout.flush()
    os.execve(sys.executable, command, dict(environ))  # noqa: S606 (no shell: the arguments are a list)


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gunicorn", nargs="*", help="gunicorn's own options, after --, such as -- --bind fd://3")


def run_status(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print how the cache is, from what lies on the disk; makes no folder and asks nobody."""
    from registry_cache.upkeep import status, status_text
    from registry_cache.wiring import status_report

    config = load_config(environ, create=False)
    now = datetime.now(UTC).astimezone()
    try:
        report = status_report(config, now.timestamp())
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(status.document(report), indent=2))
    else:
        print("\n".join(status_text.lines(report, now.tzinfo)))
    return 0


def run_cleanup(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Evict what the configuration says; safe beside a running server, and beside another of its kind."""
    from registry_cache.upkeep import cleanup_text
    from registry_cache.upkeep.cleanup import Result
    from registry_cache.wiring import cleanup

    config = load_config(environ, create=False)
    now = datetime.now(UTC).astimezone()
    deadline = time.monotonic() + arguments.max_time.total_seconds()
    show_progress = _Progress() if sys.stderr.isatty() and not arguments.json else lambda doing, count: None
    try:
        one = cleanup(config, now.timestamp(), lambda: time.monotonic() < deadline, show_progress)
        result = Result() if one is None else one.rehearse() if arguments.dry_run else one.run()
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    finally:
        if isinstance(show_progress, _Progress):
            show_progress.clear()
    report = cleanup_text.Report(now.timestamp(), result, arguments.dry_run)
    status = cleanup_text.EXIT[report.state]
    if arguments.json:
        print(json.dumps(cleanup_text.document(report), indent=2))
    else:
        # What a cron line with >/dev/null must still tell.
        print("\n".join(cleanup_text.lines(report, now.tzinfo)), file=sys.stderr if status else sys.stdout)
    return status


class _Progress:
    """One line on a terminal, written over at most ten times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, doing: str, count: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            print(f"\r\x1b[K{doing}: {count}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def run_check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Try the configuration against the store's disk and the real upstreams; costs no counted pull."""
    from registry_cache.upkeep import checkup
    from registry_cache.wiring import checks

    # What the modules would log is what the steps say.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    try:
        planned = checks(load_config(environ, create=False), arguments.references)
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 2
    subjects = []
    for each in planned:
        subject = checkup.Subject(each.kind, each.name, each.place)
        subjects.append(subject)
        if not arguments.json:
            print(checkup.title(subject))
        for step in each.steps:
            subject.steps.append(step)
            if not arguments.json:
                print(checkup.line(step), flush=True)
    if arguments.json:
        print(json.dumps(checkup.document(subjects), indent=2))
    return 0 if all(subject.ok for subject in subjects) else 1


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def add_cleanup_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would go, and why; change nothing")
    parser.add_argument(
        "--max-time",
        type=_time,
        default=timedelta(days=365),
        metavar="10m",
        help="stop after so long; the next goes on",
    )


def _time(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write a number with its unit, such as 10m") from None


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "references", nargs="*", metavar="REFERENCE", help="an image to ask for, such as ghcr.io/owner/app:1"
    )


COMMANDS = (
    Command("serve", "serve the mirror", run_serve, add_serve_arguments),
    Command("config", "print the configuration in force and where each value came from", run_config),
    Command("status", "tell from the disk how upstreams, cache and transfers are", run_status, add_json_argument),
    Command("cleanup", "evict what is over its time or over the store's size", run_cleanup, add_cleanup_arguments),
    Command("check", "try store and upstreams, and say what is wrong and what to do", run_check, add_check_arguments),
)


def make_parser(commands: Sequence[Command] = COMMANDS) -> argparse.ArgumentParser:
    """The parser of all commands; ``--config`` may stand before or after the command's name."""
    parser = argparse.ArgumentParser(
        prog="registry-cache", description="A pull-through cache for container registries."
    )
    parser.add_argument("--version", action="version", version=f"registry-cache {__version__}")
    _add_config_option(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        _add_config_option(subparser)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a default in the command's parser would undo what stood before the command's name.
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="the configuration file (else REGISTRY_CACHE_CONFIG)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, or leaves through SystemExit as argparse does."""
    arguments = make_parser().parse_args(argv)
    environ = dict(os.environ)
    if "config" in arguments:
        environ["REGISTRY_CACHE_CONFIG"] = arguments.config
    try:
        status: int = arguments.run(arguments, environ)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has seen enough, as `| head` does; Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
