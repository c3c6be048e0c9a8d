"""``registry-cache status``"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from registry_cache.commands.command import add_json_argument, print_report
from registry_cache.commands.rules import warn_of_other_upstreams
from registry_cache.commands.start import become_owner_if_allowed, start
from registry_cache.store.layout import Layout
from registry_cache.upkeep.status_text import read_status


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the state of the cache, from what lies on the disk; makes no folder and connects to nothing."""
    config = start(arguments, environ)
    if arguments.cluster:
        # Only here: with it comes all that asks registries, and --help must not wait for that.
        from registry_cache.commands.cluster import read_cluster

        return print_report(read_cluster(config), as_json=arguments.json)
    # As above; before we become somebody else, who perhaps may not read it.
    from registry_cache.wiring.upstreams import known_upstreams

    become_owner_if_allowed(config.root)
    warn_of_other_upstreams(config)
    layout = Layout(config.root)
    known = known_upstreams(config, layout)
    now = datetime.now(UTC).astimezone()
    bucket = config.s3.bucket if config.s3 else None
    return print_report(read_status(config.root, known, now, bucket), as_json=arguments.json)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("--cluster", action="store_true", help="all nodes that share downloads, as Redis knows them")
