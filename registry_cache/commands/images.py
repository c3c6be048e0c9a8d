"""What commands that take images share: how images are named and listed, for which platforms, how they are found."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from registry_cache.commands.command import CommandError
from registry_cache.config import Config
from registry_cache.oci.names import split_image_name
from registry_cache.oci.platform import Platform
from registry_cache.pull.images.closure import Image
from registry_cache.pull.images.warm import THREADS, Warm
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import Layout
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.records import Records
from registry_cache.upkeep.report import printable
from registry_cache.wiring.services import build
from registry_cache.wiring.upstreams import upstreams

ALL = "all"


def add_image_arguments(parser: argparse.ArgumentParser, platform_help: str) -> None:
    parser.add_argument("references", nargs="*", metavar="REF", help="an image, such as ghcr.io/owner/app:1")
    parser.add_argument(
        "--file", metavar="LIST", help="a file of images, one a line, # for remarks; - is standard input"
    )
    parser.add_argument("--platform", action="append", type=_platform, metavar="OS/ARCH", help=platform_help)


def listed_images(arguments: argparse.Namespace) -> list[str]:
    """Return the images of the command line and then of ``--file``, each once. Raises CommandError."""
    listed = _lines(arguments.file) if arguments.file else []
    found = list(dict.fromkeys([*arguments.references, *listed]))
    if not found and not arguments.file:
        raise CommandError("name an image, such as docker.io/library/nginx:1.27, or a file of them with --file")
    return found


def wanted_platforms(arguments: argparse.Namespace) -> list[Platform] | None:
    """Return what ``--platform`` names: [] for all of an index, None where it was not given."""
    if arguments.platform is None:
        return None
    return [] if None in arguments.platform else list(arguments.platform)


def image_finder(config: Config) -> Callable[[str], Image]:
    """Return a function from a name such as ``ghcr.io/owner/app:1`` to its image, which raises RegistryError."""
    known = upstreams(config)

    def find(text: str) -> Image:
        name, reference = split_image_name(text)
        return Image(known.target(name, {}), reference)

    return find


def make_warm(config: Config) -> Warm:
    """Return what pulls images ahead, as one more worker beside those that run. Raises StoreError."""
    services, layout = build(config), Layout(config.root)
    threads = min(THREADS, config.readers)
    records, partials = Records(layout, Blobs(layout)), Partials(layout)
    return Warm(services.manifests, services.blobs, records, partials, services.listing, threads)


def print_line(line: str, file: TextIO) -> None:
    """Print a line at once, without what would move the cursor."""
    print(printable(line), file=file, flush=True)


def _lines(path: str) -> list[str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"could not read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"could not read {path}: it is not UTF-8 text") from None
    return [name for line in text.splitlines() if (name := line.partition("#")[0].strip())]


def _platform(text: str) -> Platform | None:
    try:
        return None if text == ALL else Platform.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
