"""gunicorn as ``registry-cache serve`` starts it: nothing is imported from the folder that it is started in.

gunicorn's own command puts that folder first, for applications that lie in one. Ours is installed, and whoever may
write into the folder could run code as the server's user.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from registry_cache.config import ConfigError, load_config
from registry_cache.runtime.dependency_check import DependencyChanged
from registry_cache.runtime.interrupt import end_on_interrupt
from registry_cache.runtime.log import print_error

_Refuse = Callable[[argparse.ArgumentParser, str], NoReturn]

_MODULE = "registry_cache.server.launcher"
# -P: Python, too, would look there first.
COMMAND = [sys.executable, "-P", "-m", _MODULE]


def command_of_this_process() -> list[str]:
    """Return what starts this process' gunicorn once more, without its arguments.

    gunicorn would run its file by the file's name, and beside that file the standard library's http is its own.
    """
    spec = sys.modules["__main__"].__spec__
    return COMMAND if spec is not None and spec.name == _MODULE else [sys.executable, "-m", "gunicorn"]


def main() -> None:
    """Be gunicorn, until the server ends."""
    # gunicorn replaces this as soon as it handles signals.
    end_on_interrupt()
    try:
        from registry_cache.server.gunicorn_internals import GunicornApplication
    except DependencyChanged as error:
        raise SystemExit(str(error)) from error
    argparse.ArgumentParser.error = _refuse  # type: ignore[method-assign, assignment]
    GunicornApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="registry-cache serve --").run()


def _refuse(
    parser: argparse.ArgumentParser, message: str, as_argparse: _Refuse = argparse.ArgumentParser.error
) -> NoReturn:
    """Tell what is wrong with an option: as an event, where all other lines of the log are events."""
    try:
        formatter = load_config(os.environ).log.formatter
    except ConfigError as failure:
        formatter = failure.formatter
    if formatter == "text":
        as_argparse(parser, message)
    print_error(f"{parser.prog} {message}", formatter)
    sys.exit(2)


if __name__ == "__main__":
    main()
