"""``registry-cache config``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from registry_cache.commands.command import Command
from registry_cache.commands.start import heading
from registry_cache.config import banner, load_config, show


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every key in force and where it came from; secrets are masked. Makes no folder."""
    config = load_config(environ, create=False, needs_passwords=False)
    # What follows is YAML, and may be read as such.
    print(f"# {heading(config)}")
    for line in show.lines(config.in_force):
        print(line)
    for warning in banner.warnings(config):
        print(f"# {warning}")
    return 0


COMMAND = Command("config", "print the configuration in force and where each value came from", run)
