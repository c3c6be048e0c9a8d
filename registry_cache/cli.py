"""The console script: ``registry-cache serve`` and its other verbs. Does not import flask, requests or gevent.

Exit status 2 means a wrong configuration or command line, with the report on standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from registry_cache import __version__
from registry_cache.commands import (
    bucket,
    check,
    cleanup,
    completion,
    config,
    export,
    import_,
    list_,
    nginx,
    pin,
    remove,
    serve,
    setup,
    stats,
    status,
    verify,
    warm,
)
from registry_cache.commands.command import Command, CommandError, as_typed
from registry_cache.commands.parser import CommandParser
from registry_cache.config import ConfigError
from registry_cache.config.load import DEFAULT_FILE
from registry_cache.errors import RegistryError
from registry_cache.runtime import log
from registry_cache.upkeep.report import printable

COMMANDS: tuple[Command, ...] = (
    serve.COMMAND,
    config.COMMAND,
    status.COMMAND,
    stats.STATS,
    stats.PULLS,
    cleanup.COMMAND,
    bucket.COMMAND,
    nginx.COMMAND,
    setup.COMMAND,
    list_.COMMAND,
    remove.COMMAND,
    pin.PIN,
    pin.UNPIN,
    pin.PINS,
    verify.COMMAND,
    check.COMMAND,
    warm.COMMAND,
    export.COMMAND,
    import_.COMMAND,
    completion.COMMAND,
)

# As a shell reports a program that Ctrl-C has ended. What was interrupted is safe to do again.
INTERRUPTED = 128 + signal.SIGINT


def make_parser(commands: Sequence[Command] = COMMANDS) -> CommandParser:
    """The parser of all commands; ``--config`` may stand before or after the command's name."""
    parser = CommandParser(prog="registry-cache", description="A pull-through cache for container registries.")
    parser.add_argument("--version", action="version", version=f"registry-cache {__version__}")
    _add_config_option(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        _add_config_option(subparser)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
        parser.commands[command.name] = subparser
    return parser


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a default in the command's parser would undo what stood before the command's name.
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"the configuration file (default: REGISTRY_CACHE_CONFIG names it, else {DEFAULT_FILE} if it is there)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, or leaves through SystemExit as argparse does."""
    try:
        return _run(argv)
    except BrokenPipeError:
        # The reader has seen enough, as `| head` does.
        _print_no_more()
        return 0
    except OSError as error:
        if error.filename is not None:
            print(printable(f"registry-cache: {error.filename}: {error.strerror}"), file=sys.stderr)
            return 1
        # An error without a file name is about standard output.
        _print_no_more()
        print(f"registry-cache: could not write to standard output: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    parser = make_parser()
    try:
        parser.refuse_unknown_command(sys.argv[1:] if argv is None else argv)
        arguments = parser.parse_args(argv)
    except SystemExit:
        # Help, perhaps: that it cannot be written is told here, and not by Python at its end.
        sys.stdout.flush()
        raise
    environ = dict(os.environ)
    if "config" in arguments:
        environ["REGISTRY_CACHE_CONFIG"] = arguments.config
    log.setup_command()
    try:
        status: int = arguments.run(arguments, environ)
        sys.stdout.flush()
    except ConfigError as error:
        for line in str(as_typed(error, arguments)).split("\n"):
            print(printable(line), file=sys.stderr)
        return 2
    except CommandError as error:
        print(printable(f"registry-cache: {error}"), file=sys.stderr)
        return error.exit_status
    except RegistryError as error:
        print(printable(f"registry-cache: {error.message}"), file=sys.stderr)
        return 1
    return status


def _print_no_more() -> None:
    """Let Python not fail again when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
