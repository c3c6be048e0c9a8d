"""``registry-cache status``"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import Command, add_json_argument
from registry_cache.config import load_config
from registry_cache.errors import RegistryError


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print how the cache is, from what lies on the disk; makes no folder and asks nobody."""
    from registry_cache.upkeep import status, status_text
    from registry_cache.wiring import status_report

    config = load_config(environ, create=False)
    now = datetime.now(UTC).astimezone()
    try:
        report = status_report(config, now.timestamp())
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(status.document(report), indent=2))
    else:
        print("\n".join(status_text.lines(report, now.tzinfo)))
    return 0


COMMAND = Command("status", "tell from the disk how upstreams, cache and transfers are", run, add_json_argument)
