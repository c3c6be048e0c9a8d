"""What a pull is about: a repository at an upstream, and how its tags are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from registry_cache.oci.names import Repository
from registry_cache.upstream.client import Upstream

# The names of an upstream and of a repository there: on whose behalf upstream was asked.
Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TagPolicy:
    """``max_age``: how long a tag is served without asking.

    ``timeout_seconds``: how long upstream's answer is waited for where there is a copy to serve instead.
    """

    max_age: timedelta = timedelta(0)
    timeout_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class PullTarget:
    """A repository at an upstream; ``str`` is its whole name, such as ``docker.io/library/nginx``."""

    upstream: Upstream
    repository: Repository
    tags: TagPolicy = TagPolicy()

    @property
    def owner(self) -> Owner:
        return self.upstream.name, str(self.repository)

    def __str__(self) -> str:
        return f"{self.upstream.name}/{self.repository}"
