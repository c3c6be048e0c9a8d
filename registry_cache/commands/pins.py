"""``registry-cache pins``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from registry_cache.commands.command import add_json_argument, print_report
from registry_cache.commands.start import become_owner_if_allowed, start
from registry_cache.upkeep.pins_text import read_pins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every pin and how many images it holds now; makes no folder."""
    config = start(arguments, environ)
    become_owner_if_allowed(config.root)
    return print_report(read_pins(config.root), as_json=arguments.json)
