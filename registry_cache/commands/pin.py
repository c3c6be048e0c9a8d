"""``registry-cache pin``, ``unpin`` and ``pins``"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import Command, add_json_argument, become_owner
from registry_cache.config import load_config
from registry_cache.errors import RegistryError, StoreError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a name such as library/postgres:16 or ghcr.io/owner/*:v1.*, or a digest",
    )


def pin(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Keep images from eviction, from the next pass on; they need not be here yet."""
    return _change(arguments, environ, "add", "pinned", "was pinned already")


def unpin(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Take pins back, as they were given."""
    return _change(arguments, environ, "remove", "unpinned", "was not pinned")


def _change(arguments: argparse.Namespace, environ: Mapping[str, str], method: str, done: str, otherwise: str) -> int:
    from registry_cache.wiring import pins, pins_named

    config = load_config(environ, create=True)
    try:
        named = pins_named(config, arguments.images, time.time())
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 2
    try:
        become_owner(config.root)
        changed = {each.key for each in getattr(pins(config), method)(named)}
    except StoreError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    for each in named:
        print(f"{each.upstream}/{each.image} {done if each.key in changed else otherwise}")
    return 0


def pins(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every pin and how many images it holds now; makes no folder."""
    from registry_cache.wiring import pins_held

    try:
        held = pins_held(load_config(environ, create=False))
    except StoreError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    rows = [(f"{pin.upstream}/{pin.image}", _day(pin.pinned_at), len(images)) for pin, images in held]
    if arguments.json:
        document = [{"pin": name, "pinned_at": since, "images": count} for name, since, count in rows]
        print(json.dumps({"version": 1, "pins": document}, indent=2))
        return 0
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, since, count in rows:
        print(f"{name:{width}}  since {since}  {count} here")
    if not rows:
        print("nothing is pinned")
    return 0


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


PIN = Command("pin", "keep images from eviction", pin, add_arguments)
UNPIN = Command("unpin", "take a pin back", unpin, add_arguments)
PINS = Command("pins", "print what is pinned", pins, add_json_argument)
