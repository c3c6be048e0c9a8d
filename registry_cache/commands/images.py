"""What verbs that take images share: how images are named and listed, and for which platforms."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TextIO

from registry_cache.oci.platform import Platform

ALL = "all"


def add_image_arguments(parser: argparse.ArgumentParser, platform_help: str) -> None:
    parser.add_argument("references", nargs="*", metavar="REF", help="an image, such as ghcr.io/owner/app:1")
    parser.add_argument(
        "--file", metavar="LIST", help="a file of images, one a line, # for remarks; - is standard input"
    )
    parser.add_argument("--platform", action="append", type=_platform, metavar="OS/ARCH", help=platform_help)


def names(arguments: argparse.Namespace) -> list[str]:
    """Return the images of the command line and then of ``--file``, each once. Raises ValueError."""
    listed = _lines(arguments.file) if arguments.file else []
    found = list(dict.fromkeys([*arguments.references, *listed]))
    if not found and not arguments.file:
        raise ValueError("name an image, such as docker.io/library/nginx:1.27, or a file of them by --file")
    return found


def platforms(arguments: argparse.Namespace) -> list[Platform] | None:
    """Return what ``--platform`` names: [] for all of an index, None where it was not given."""
    if arguments.platform is None:
        return None
    return [] if None in arguments.platform else list(arguments.platform)


def say(line: str, file: TextIO) -> None:
    """Print a line at once, without what would move the cursor: upstream chose some of its words."""
    print("".join(letter if letter.isprintable() else "?" for letter in line), file=file, flush=True)


def _lines(path: str) -> list[str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"could not read {path}: {error}") from None
    return [name for line in text.splitlines() if (name := line.partition("#")[0].strip())]


def _platform(text: str) -> Platform | None:
    try:
        return None if text == ALL else Platform.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
