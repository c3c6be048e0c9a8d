"""Three nodes over one Redis, in front of `upstream`, for the stories of this folder."""

from __future__ import annotations

from tests.harness.shared_cache import shared_upstream, small_disk, upstream
from tests.harness.shared_cluster import cluster, whole_clusters

__all__ = ["cluster", "shared_upstream", "small_disk", "upstream", "whole_clusters"]
