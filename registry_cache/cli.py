"""The console script: ``registry-cache serve`` and its other commands, each of which is imported only to be run.

Exit status 2 means a wrong configuration or command line, with the report on standard error.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from registry_cache import __version__
from registry_cache.commands.command import Command, CommandError, as_typed
from registry_cache.commands.parser import CommandParser
from registry_cache.config import ConfigError
from registry_cache.config.load import DEFAULT_FILE
from registry_cache.errors import RegistryError
from registry_cache.runtime import log
from registry_cache.runtime.users import name_of_user
from registry_cache.upkeep.report import printable

COMMANDS: tuple[Command, ...] = (
    Command("serve", "serve the mirror", "serve"),
    Command("config", "print the configuration in force and where each value came from", "config"),
    Command("status", "tell from the disk how upstreams, cache and transfers are", "status"),
    Command("stats", "print what was served, saved and asked for", "stats"),
    Command("pulls", "print who pulled what, and when", "stats", run="run_pulls", add_arguments="add_pulls_arguments"),
    Command("cleanup", "evict what is over its time or over the store's size", "cleanup"),
    Command("bucket", "make the bucket that several caches share, or print rules for it", "bucket"),
    Command("nginx", "print nginx' configuration for this cache", "nginx"),
    Command("setup", "print what sets up a client: docker, containerd, podman and others", "setup"),
    Command("list", "print the images that are stored, their sizes and last use", "list_"),
    Command("remove", "remove an image from the store at once", "remove"),
    Command("pin", "keep images from eviction", "pin", run="pin"),
    Command("unpin", "take a pin back", "pin", run="unpin"),
    Command("pins", "print what is pinned", "pins"),
    Command("verify", "re-hash what is stored, find what is damaged, and repair it", "verify"),
    Command("check", "try store and upstreams, and say what is wrong and what to do", "check"),
    Command("warm", "pull images ahead, before anybody asks for them", "warm"),
    Command("export", "write stored images into a tar for another site", "export"),
    Command("import", "take over what another registry or an archive has", "import_"),
    Command("completion", "print what makes a shell complete commands and options", "completion"),
)


# As a shell reports a program that Ctrl-C has ended. What was interrupted is safe to do again.
INTERRUPTED = 128 + signal.SIGINT


def make_parser() -> CommandParser:
    """Return the parser of all commands, with everything that they take; imports each command's module."""
    parser = _bare_parser()
    for command in COMMANDS:
        command.load(parser.commands[command.name])
    return parser


def _bare_parser() -> CommandParser:
    """Return a parser that knows all commands by name; ``--config`` may stand before or after the command's name."""
    parser = CommandParser(prog="registry-cache", description="A pull-through cache for container registries.")
    parser.add_argument("--version", action="version", version=f"registry-cache {__version__}")
    _add_config_option(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        _add_config_option(subparser)
        parser.commands[command.name] = subparser
    return parser


def _add_config_option(parser: argparse.ArgumentParser) -> None:
    # SUPPRESS: a default in the command's parser would undo what stood before the command's name.
    parser.add_argument(
        "--config",
        type=_named_file,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help=f"the configuration file (default: REGISTRY_CACHE_CONFIG names it, else {DEFAULT_FILE} if it is there)",
    )


def _named_file(text: str) -> str:
    # --config "$FILE" where nothing has set FILE: the defaults' store would be cleaned up in place of the server's.
    if not text.strip():
        raise argparse.ArgumentTypeError("no file is named")
    return text


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
    parser = _bare_parser()
    try:
        name = parser.find_command(sys.argv[1:] if argv is None else argv)
        for command in COMMANDS:
            if command.name == name:
                command.load(parser.commands[name])
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
        print(printable(f"registry-cache: {error.message}{_remedy(error)}"), file=sys.stderr)
        return 1
    return status


def _remedy(error: RegistryError) -> str:
    """Return what to do about a part of the store that is another user's, "" for all else; clients are not told."""
    cause = error.__cause__
    if not isinstance(cause, PermissionError) or not cause.filename or str(cause.filename) in error.message:
        return ""
    return (
        f"; user {name_of_user()} may not use {cause.filename}: run this as the user whose store it is, or give all of "
        "the store to one with chown -R"
    )


def _print_no_more() -> None:
    """Let Python not fail again when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
