"""``registry-cache serve``"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from registry_cache.commands.command import as_typed
from registry_cache.config import ConfigError, load_config
from registry_cache.runtime.interrupt import hold_interrupts
from registry_cache.runtime.log import print_error
from registry_cache.server import launcher

# The file and not the module: gunicorn runs a file again at each reload, and imports a module once.
SETTINGS = f"file:{Path(__file__).with_name('gunicorn_settings.py')}"
APPLICATION = "registry_cache.app:from_environment()"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gunicorn", nargs="*", help="gunicorn's own options, after --, such as -- --bind fd://3")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:  # noqa: RET503 (execve does not return)
    """Become gunicorn: signals, sockets handed over and the process id stay those of this process."""
    try:
        load_config(environ)
    except ConfigError as error:
        print_error(str(as_typed(error, arguments)), error.formatter)
        return 2
    command = [*launcher.COMMAND, "-c", SETTINGS, *arguments.gunicorn, APPLICATION]
    sys.stdout.flush()
    with hold_interrupts():
        os.execve(sys.executable, command, dict(environ))  # noqa: S606 (no shell: the arguments are a list)
