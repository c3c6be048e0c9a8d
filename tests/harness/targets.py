"""What a pull is about, as the route of a request makes it."""

from __future__ import annotations

from registry_cache.oci.names import FullName, Repository
from registry_cache.pull.target import PullTarget, TagPolicy
from registry_cache.upstream.client import Upstream
from tests.harness.store_rig import APP


def target_at(upstream: Upstream, repository: Repository = APP, tags: TagPolicy | None = None) -> PullTarget:
    return PullTarget(upstream, FullName(upstream.name, repository), tags or TagPolicy())
