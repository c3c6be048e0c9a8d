"""``registry-cache bucket``"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping

from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.commands.command import CommandError
from registry_cache.commands.start import start
from registry_cache.config import Config
from registry_cache.config.bucket import S3Config
from registry_cache.oci import object_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", choices=["create", "lifecycle"], help="make the bucket, or print its lifecycle rules, as JSON"
    )
    parser.add_argument(
        "--days", type=int, metavar="N", help="also let the object store remove what was last put or used N days ago"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make the bucket, or print what an operator gives to the object store."""
    config = start(arguments, environ)
    if config.s3 is None:
        raise CommandError("there is no bucket: storage.s3 is not configured")
    if arguments.what == "create":
        return _create(config.s3)
    if arguments.days is not None and arguments.days < 2:
        # Nodes hand on once a day that they use something.
        raise CommandError("--days must be at least 2: nodes tell the bucket once a day what they use")
    print(json.dumps({"Rules": _rules(config, arguments.days)}, indent=2))
    return 0


def _create(s3: S3Config) -> int:
    # Only here: they import boto3, and all that serves.
    from registry_cache.bucket.objects import Objects
    from registry_cache.wiring.bucket import bucket_settings

    # Amazon wants its region named, unless it is its first; other stores call theirs by names of their own.
    location = None if s3.region_endpoint or s3.region == "us-east-1" else s3.region
    try:
        Objects(bucket_settings(s3)).create_bucket(location)
    except (BucketAway, ObjectRefused) as error:
        raise CommandError(f"the bucket {s3.bucket} cannot be made: {error}", 1) from error
    print(f"the bucket {s3.bucket} is there: {s3.base_url}")
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
