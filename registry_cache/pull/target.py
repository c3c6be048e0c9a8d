"""What a pull is about: a repository at an upstream, and how its tags are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from registry_cache.oci.names import FullName
from registry_cache.upstream.client import Upstream


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """``max_age``: how long a tag is served without asking.

    ``timeout_seconds``: how long upstream's answer is waited for where there is a copy to serve instead.
    """

    max_age: timedelta = timedelta(0)
    timeout_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class PullTarget:
    """A repository at ``upstream``, with whose name ``name`` begins; ``str`` is as ``docker.io/library/nginx``."""

    upstream: Upstream
    name: FullName
    tags: TagPolicy = TagPolicy()

    def __str__(self) -> str:
        return str(self.name)
