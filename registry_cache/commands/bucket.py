"""``registry-cache bucket``"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from registry_cache.commands.command import Command, CommandError
from registry_cache.commands.start import start
from registry_cache.config import Config
from registry_cache.oci import object_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["lifecycle"], help="print the bucket's lifecycle rules, as JSON")
    parser.add_argument(
        "--days", type=int, metavar="N", help="also let the object store remove what was last put or used N days ago"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print what an operator gives to the object store; asks it for nothing."""
    config = start(arguments, environ)
    if config.s3 is None:
        raise CommandError("there is no bucket: storage.s3 is not configured")
    if arguments.days is not None and arguments.days < 2:
        # Nodes hand on once a day that they use something.
        raise CommandError("--days must be at least 2: nodes tell the bucket once a day what they use")
    print(json.dumps({"Rules": _rules(config, arguments.days)}, indent=2))
    return 0


def _rules(config: Config, days: int | None) -> list[dict[str, object]]:
    # Bytes alone: names are small, and nobody hands on that these are used.
    where = object_keys.prefix((config.s3.root_directory if config.s3 else None) or "") + object_keys.BLOBS
    rule: dict[str, object] = {"Status": "Enabled", "Filter": {"Prefix": where}}
    unfinished = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    rules = [{"ID": "registry-cache-unfinished", **rule, **unfinished}]
    if days is not None:
        rules.append({"ID": "registry-cache-unused", **rule, "Expiration": {"Days": days}})
    return rules


COMMAND = Command("bucket", "print rules for the bucket that several caches share", run, add_arguments)
