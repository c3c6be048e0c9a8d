"""``registry-cache check``"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from registry_cache.commands.cluster import check_cluster, redis_name
from registry_cache.commands.command import CommandError, add_json_argument, print_report, silence_log
from registry_cache.commands.start import as_server_reads_it, become_owner_if_allowed, start
from registry_cache.config import Config, UpstreamConfig, banner
from registry_cache.config.bucket import S3Config
from registry_cache.config.hosts import HUB
from registry_cache.errors import RegistryError
from registry_cache.oci.names import FullName, Reference, Repository, Tag, split_image_name
from registry_cache.runtime.check_step import Step
from registry_cache.store.audit import selftest
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import Layout
from registry_cache.store.records import Records
from registry_cache.upkeep.check_text import CheckReport, CheckSubject, line
from registry_cache.upkeep.report import printable
from registry_cache.upstream.diagnose.check import UpstreamCheck
from registry_cache.upstream.diagnose.steps import CheckTarget
from registry_cache.upstream.rate_limits import lifted
from registry_cache.wiring.bucket import Samples, bucket_reader, bucket_settings
from registry_cache.wiring.upstreams import account, session, shared_health, upstreams

# Docker Hub is asked for this image where none is named: everybody may read it.
HUB_SAMPLE = "library/alpine:latest"
# In so many repositories we look for a tag to ask another upstream for.
_SAMPLED_REPOSITORIES = 100

_References = list[tuple[Repository, Reference]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "references", nargs="*", metavar="REFERENCE", help="an image to ask for, such as ghcr.io/owner/app:1"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Try the configuration against the store's disk and the real upstreams; costs no counted pull."""
    silence_log()
    config = as_server_reads_it(start(arguments, environ, asks_upstream=True), environ)
    become_owner_if_allowed(config.root)
    try:
        wanted = _by_upstream(config, arguments.references)
    except RegistryError as error:
        raise CommandError(error.message) from error
    report = CheckReport(list(banner.warnings(config)))
    for subject, steps in _checks(config, wanted):
        report.subjects.append(subject)
        if not arguments.json:
            print(printable(f"{subject.name} ({subject.place})"))
        for step in steps:
            subject.steps.append(step)
            if not arguments.json:
                print(printable(line(step)), flush=True)
    return print_report(report, as_json=arguments.json)


def _by_upstream(config: Config, images: Sequence[str]) -> dict[str, _References]:
    """Return what to ask each upstream for. Raises RegistryError for an image that no upstream can have."""
    known = upstreams(config)
    wanted: dict[str, _References] = {}
    for image in images:
        name, reference = split_image_name(image)
        target = known.target(name, {})
        wanted.setdefault(target.upstream.name, []).append((target.name.repository, reference))
    if HUB not in wanted:
        name, reference = split_image_name(HUB_SAMPLE)
        wanted[HUB] = [(Repository(name), reference)]
    return wanted


def _checks(config: Config, wanted: Mapping[str, _References]) -> Iterator[tuple[CheckSubject, Iterable[Step]]]:
    """Yield each subject and the steps that try it, while they are iterated over."""
    yield CheckSubject("store", "store", str(config.root)), selftest.examine(config.root)
    if config.shares_downloads:
        place = f"Redis at {redis_name(config)}" if config.redis else "without Redis"
        yield CheckSubject("cluster", "cluster", place), check_cluster(config)
    if config.s3:
        yield CheckSubject("bucket", f"bucket {config.s3.bucket}", config.s3.base_url), _bucket_check(config.s3)
    for each in config.upstreams:
        keys = "proxy" if each is config.default_upstream else f"upstreams.{each.name}"
        steps = _upstream_check(config, each, keys).run(wanted.get(each.name, []), _cached_tag(config.root, each.name))
        yield CheckSubject("upstream", each.name, each.remote_url), steps


def _bucket_check(s3: S3Config) -> Iterator[Step]:
    # Only here: they import boto3.
    from registry_cache.bucket import selftest as bucket_selftest
    from registry_cache.bucket.objects import Objects

    return bucket_selftest.examine(lambda: Objects(bucket_settings(s3)), Samples(bucket_reader(s3)))


def _upstream_check(config: Config, upstream: UpstreamConfig, keys: str) -> UpstreamCheck:
    target = CheckTarget(
        name=upstream.name,
        url=upstream.remote_url,
        keys=keys,
        proxy=upstream.http_proxy.reveal() if upstream.http_proxy else None,
        account=bool(upstream.credential_helper or upstream.username),
        ca=str(upstream.ca) if upstream.ca else None,
        insecure=upstream.insecure,
        realms=upstream.token_realms,
    )
    lift_limit = partial(_lift_limit, config.root, upstream)
    return UpstreamCheck(target, session(upstream), account(upstream), lift_limit=lift_limit)


def _lift_limit(root: Path, upstream: UpstreamConfig) -> bool:
    """Forget the rate limit that the server has noted for an upstream; return whether there was one."""
    # What is wrong with the store is reported by a check of its own.
    with contextlib.suppress(RegistryError):
        layout = Layout.find(root)
        health = shared_health(upstream, layout) if layout else None
        if health and health.limits().blocked_until(counted=True) > time.time():
            health.update_limits(lifted)
            return True
    return False


def _cached_tag(root: Path, upstream: str) -> _References:
    """Return one tag of an upstream that is cached, if there is any."""
    # The check of the store reports what is wrong with the store.
    with contextlib.suppress(RegistryError):
        layout = Layout.find(root)
        if layout is None:
            return []
        records = Records(layout, Blobs(layout))
        for name in itertools.islice(records.repositories(upstream), _SAMPLED_REPOSITORIES):
            repository = Repository.parse(name)
            if tags := records.tags(FullName(upstream, repository)):
                return [(repository, Tag.parse(tags[-1]))]
    return []
