"""Which upstream and repository a request means, and in which of the three forms it says so.

    /v2/library/nginx/manifests/1.27?ns=docker.io      by query: containerd, newer dockerd and podman
    /v2/ghcr.io/owner/app/manifests/1                  by the first segment: podman's mirror locations
    /v2/library/nginx/manifests/1.27                   by neither: the default upstream

The world is closed: a name that the configuration does not list is a 404, never a connection (P51).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from registry_cache.errors import NameUnknown
from registry_cache.oci.names import FullName, Repository
from registry_cache.pull.target import PullTarget, TagPolicy
from registry_cache.upstream.client import Upstream

Fallback = Literal["honest", "unavailable", "notfound"]
FallbackChoice = Literal["auto", "honest", "unavailable", "notfound"]

# Docker Hub keeps its official images there, and only Docker Hub has names of one segment for them (P23).
HUB = "docker.io"
_OFFICIAL = "library/"


@dataclass(frozen=True, slots=True)
class ServedUpstream:
    """An upstream as we serve it: what it is also called, how its tags are kept, what is said when it limits us.

    ``fallback`` "honest" answers 429; "unavailable" 503 and "notfound" 404, on which clients of a mirror turn to the
    registry itself at once instead of trying again here (P9, P15, P43). "auto" is "unavailable" for requests as clients
    send them to a mirror, and "honest" for those that name the registry in the path, as whoever names us does.
    """

    upstream: Upstream
    aliases: tuple[str, ...]
    tags: TagPolicy
    fallback: FallbackChoice = "auto"


@dataclass(frozen=True, slots=True)
class Route:
    """What a request is about. ``named`` is the repository as the client wrote it; ``namespace`` its ``ns``, if any."""

    target: PullTarget
    named: str
    namespace: str | None
    fallback: Fallback = "honest"


class Upstreams:
    """All upstreams that the configuration lists: the default one and those that have a name."""

    def __init__(self, default: ServedUpstream, others: Iterable[ServedUpstream] = ()) -> None:
        self.default = default
        self._by_name: dict[str, ServedUpstream] = {}
        for served in (default, *others):
            for name in (served.upstream.name, *served.aliases):
                self._by_name[name.lower()] = served

    def route(self, name: str, query: Mapping[str, str]) -> Route:
        """Return what the repository ``name`` of a URL means. Raises NameInvalid, NameUnknown."""
        namespace = query.get("ns") or None
        served, rest = self._by_query(namespace, name) if namespace is not None else self._first_segment(name)
        whole = FullName(served.upstream.name, Repository.parse(_official(served, rest)))
        target = PullTarget(served.upstream, whole, served.tags)
        is_mirror = namespace is not None or rest == name
        return Route(target, name, namespace, _fallback(served.fallback, is_mirror=is_mirror))

    def target(self, name: str, query: Mapping[str, str]) -> PullTarget:
        """Return the target of ``route``, for commands. Raises NameInvalid, NameUnknown."""
        return self.route(name, query).target

    def split(self, name: str) -> tuple[str, str]:
        """Return the upstream's name and the rest of a name, as written without ``ns``. Raises NameUnknown."""
        served, rest = self._first_segment(name)
        return served.upstream.name, _official(served, rest)

    def named(self, namespace: str) -> ServedUpstream:
        """Return the upstream that a query's ``ns`` names. Raises NameUnknown."""
        served = self._find(namespace)
        if served is None:
            raise _not_find(namespace)
        return served

    def _by_query(self, namespace: str, name: str) -> tuple[ServedUpstream, str]:
        served = self.named(namespace)
        first, slash, rest = name.partition("/")
        # Both forms at once: the mirror's location ends with the registry, and the client also sends ``ns`` (P17).
        return served, rest if slash and self._find(first) is served else name

    def _find(self, name: str) -> ServedUpstream | None:
        # Other scripts have letters that become a listed name's in lower case (U+212A, k), and no header can hold them.
        return self._by_name.get(name.lower()) if name.isascii() else None

    def _first_segment(self, name: str) -> tuple[ServedUpstream, str]:
        first, slash, rest = name.partition("/")
        if slash and (served := self._find(first)):
            return served, rest
        # No account of Docker Hub has a dot in its name: this is a registry's, and not one of ours.
        if slash and (":" in first or ("." in first and self.default.upstream.name == HUB)):
            raise _not_find(first)
        return self.default, name


def _fallback(choice: FallbackChoice, *, is_mirror: bool) -> Fallback:
    if choice != "auto":
        return choice
    return "unavailable" if is_mirror else "honest"


def _official(served: ServedUpstream, name: str) -> str:
    return _OFFICIAL + name if served.upstream.name == HUB and "/" not in name else name


def _not_find(name: str) -> NameUnknown:
    shown = name if len(name) <= 80 else name[:77] + "…"
    return NameUnknown(f"{shown!r} is not a registry that this cache mirrors; the operator can list it under upstreams")
