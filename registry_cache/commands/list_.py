"""``registry-cache list``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import Command, add_json_argument, print_report
from registry_cache.commands.start import become_owner_if_allowed, start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="a part of a name, or one with *")
    parser.add_argument(
        "--sort",
        choices=("name", "size", "used"),
        default="name",
        help="by name, the largest, or used longest ago first (default: name)",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the images that are stored; reads every repository's records, and asks no upstream."""
    from registry_cache.store.layout import Layout
    from registry_cache.upkeep.image_list import ImageListReport, list_images

    config = start(arguments, environ)
    become_owner_if_allowed(config.root)
    layout, now = Layout.find(config.root), datetime.now(UTC).astimezone()
    images = list_images(layout, arguments.pattern, arguments.sort) if layout else []
    return print_report(ImageListReport(images, now.timestamp(), now.tzinfo), as_json=arguments.json)


COMMAND = Command("list", "print the images that are stored, their sizes and last use", run, add_arguments)
