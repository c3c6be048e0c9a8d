"""``registry-cache pin`` and ``unpin``"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from registry_cache.commands.command import CommandError, silence_log
from registry_cache.commands.rules import warn_of_other_upstreams
from registry_cache.commands.start import become_owner, start
from registry_cache.errors import RegistryError
from registry_cache.pull.images.pin_spec import pin_of
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pin, Pins
from registry_cache.wiring.nodes import exchange_pins
from registry_cache.wiring.upstreams import upstreams


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="a name such as library/postgres:16 or ghcr.io/owner/*:v1.*, or a digest",
    )


def pin(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Keep images from eviction, from the next cleanup on; they need not be here yet."""
    return _change(arguments, environ, lambda pins, named: pins.add(named), "pinned", "was pinned already")


def unpin(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Take pins back, as they were given."""
    return _change(arguments, environ, lambda pins, named: pins.remove(named), "unpinned", "was not pinned")


def _change(
    arguments: argparse.Namespace,
    environ: Mapping[str, str],
    change: Callable[[Pins, list[Pin]], Iterable[Pin]],
    done: str,
    otherwise: str,
) -> int:
    silence_log()
    config = start(arguments, environ, create=True)
    known, now = upstreams(config), time.time()
    try:
        named = [pin_of(known, image, now) for image in arguments.images]
    except RegistryError as error:
        raise CommandError(error.message) from error
    become_owner(config.root)
    warn_of_other_upstreams(config)
    # Before: what was pinned on another node can be taken back here.
    exchange_pins(config)
    changed = {each.key for each in change(Pins(Layout.open(config.root)), named)}
    for each in named:
        print(f"{each.upstream}/{each.image} {done if each.key in changed else otherwise}")
    if trouble := exchange_pins(config):
        print(f"the other nodes will be told by this node's server: {trouble}", file=sys.stderr)
    return 0
