"""What a verb is, and what several of them share: the option --json, durations, a progress line."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from registry_cache.config.durations import parse_duration


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


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")


def duration(text: str) -> timedelta:
    """Return what an argument such as ``10m`` means; for ``type=``."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is {error}: write a number with its unit, such as 10m") from None
