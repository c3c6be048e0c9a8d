"""``registry-cache config``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from registry_cache.commands.start import as_server_reads_it, heading
from registry_cache.config import banner, load_config, show
from registry_cache.config.given import DEFAULT
from registry_cache.store.layout import Layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--changed", action="store_true", help="leave out what has its default")
    parser.add_argument(
        "--check",
        action="store_true",
        help="print nothing unless a reload would refuse the configuration; the exit status says so",
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every key in force and where it came from; secrets are masked. Makes no folder."""
    config = load_config(environ, create=False, needs_passwords=arguments.check)
    if arguments.check:
        as_server_reads_it(config, environ)
        # Of another version it would be refused.
        Layout.find(config.root)
        return 0
    # What follows is YAML, and may be read as such.
    print(f"# {heading(config)}")
    entries = [each for each in config.in_force if each.origin != DEFAULT or not arguments.changed]
    for line in show.lines(entries):
        print(line)
    for warning in banner.warnings(config):
        print(f"# {warning}")
    return 0
