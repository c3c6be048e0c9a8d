"""What a verb is, and what several of them share: the option --json, durations, a progress line."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from registry_cache.config.durations import parse_duration
from registry_cache.errors import StoreError


@dataclass(frozen=True, slots=True)
class Command:
    """One verb. ``run`` gets the arguments and the environment and returns the exit status."""

    name: str
    help: str
    run: Callable[[argparse.Namespace, Mapping[str, str]], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


class Progress:
    """One line on a terminal, written over at most ten times a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, doing: str, count: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 0.1
            print(f"\r\x1b[K{doing}: {count}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def become_owner(root: Path) -> None:
    """As root, be the user from now on who owns the store in ``root``: what we write there, that user must change.

    Raises StoreError where we may not.
    """
    if os.geteuid() != 0 or not root.exists():
        return
    found = root.stat()
    if found.st_uid == 0:
        return
    try:
        os.setgroups([found.st_gid])
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
    except OSError as error:
        raise StoreError(
            f"the store in {root} belongs to user {found.st_uid}, whom we may not become: run this as that user"
        ) from error


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def duration(text: str) -> timedelta:
    """Return what an argument such as ``10m`` means; for ``type=``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write a number with its unit, such as 10m") from None
