"""For every request nginx uses the same folder as the application, or passes the request on to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import cast
from urllib.parse import parse_qs

from hypothesis import example, given
from hypothesis import strategies as st

from registry_cache.deployment.nginx_routes import NO_QUERY, PLAIN_REQUEST, Registry, Rule, folder_rules, query_rules
from registry_cache.errors import RegistryError
from registry_cache.pull.routing import HUB, ServedUpstream, Upstreams
from registry_cache.pull.target import TagPolicy
from registry_cache.upstream.client import Upstream

END = f"/blobs/sha256:{'0' * 64}"
# Sets of registries, the default one first.
HUB_FIRST = (Registry(HUB, ("registry-1.docker.io",)), Registry("ghcr.io"), Registry("localhost:5000", ("local",)))
HUB_LATER = (Registry("registry.example"), Registry(HUB), Registry("a-b.example:5000"))
NO_HUB = (Registry("plainly", (HUB,)), Registry("[::1]:5000"))

_KNOWN = [name for world in (HUB_FIRST, HUB_LATER, NO_HUB) for each in world for name in each.names]
_OTHERS = [
    "library",
    "blobs",
    "manifests",
    "v2",
    "a",
    "a.b",
    "a__b",
    "a---b",
    "a.b:5000",
    "Ghcr.io",
    PLAIN_REQUEST,
    NO_QUERY,
]
_part = st.one_of(st.sampled_from([*_KNOWN, *_OTHERS]), st.text("ab.-_A:/%", min_size=1, max_size=6))
_name = st.lists(_part, min_size=1, max_size=4).map("/".join)
_query = st.one_of(st.none(), _part.map("ns={}".format), st.sampled_from(["", "ns=", "ns=a&ns=b", "x=y", "ns=%2e"]))


class Named:
    """The part of an upstream that a target needs."""

    def __init__(self, name: str) -> None:
        self.name = name


def by_nginx(world: tuple[Registry, ...], name: str, query: str | None) -> str | None:
    """The folder by the rules, applied as nginx does; None if they leave the request to the application."""
    asked = _first(query_rules(world), query) if query else NO_QUERY if query is None else None
    uri = f"/v2/{name}{END}" + ("" if query is None else f"?{query}")
    return _first(folder_rules(world), f"{PLAIN_REQUEST}:{asked or ''}{uri}")


def _first(rules: Iterable[Rule], text: str) -> str | None:
    for each in rules:
        # PCRE spells a named group without P; its $ is Python's \Z, except before a trailing newline.
        if match := re.search(each.pattern.replace("(?<rc_", "(?P<rc_").removesuffix("$") + r"\Z", text, re.ASCII):
            folder = each.folder
            for group, text in match.groupdict().items():
                folder = folder.replace(f"${group}", text)
            return folder
    return None


def by_application(world: tuple[Registry, ...], name: str, query: str | None) -> str | None:
    """The folder that the application uses; None if it refuses the name."""
    default, *others = [ServedUpstream(cast(Upstream, Named(each.name)), each.aliases, TagPolicy()) for each in world]
    arguments = {key: values[0] for key, values in parse_qs(query or "").items()}
    try:
        target = Upstreams(default, others).target(name, arguments)
    except RegistryError:
        return None
    return f"{target.upstream.name}/{target.name.repository}"


@given(st.sampled_from([HUB_FIRST, HUB_LATER, NO_HUB]), _name, _query)
@example(HUB_FIRST, "nginx", None)
@example(HUB_FIRST, "docker.io/nginx", None)
@example(HUB_FIRST, "ghcr.io/nginx", "ns=docker.io")
@example(HUB_FIRST, "quay.io/nginx", None)
@example(HUB_LATER, "quay.io/nginx", None)
@example(HUB_LATER, "nginx", "ns=docker.io")
@example(NO_HUB, "nginx", "ns=docker.io")
@example(HUB_FIRST, "ghcr.io/a/b", "ns=ghcr.io")
@example(HUB_FIRST, "registry-1.docker.io/nginx", "ns=docker.io")
@example(NO_HUB, "docker.io/nginx", None)
def test_nginx_means_what_the_application_means(world: tuple[Registry, ...], name: str, query: str | None) -> None:
    folder = by_nginx(world, name, query)

    assert folder is None or folder == by_application(world, name, query)


def test_nginx_knows_every_plain_form() -> None:
    for world in (HUB_FIRST, HUB_LATER, NO_HUB):
        for name in ("a/b", "a", "a.b/c" if world[0].name != HUB else "a/b.c"):
            assert by_nginx(world, name, None) == by_application(world, name, None)
        for registry in world:
            for alias in registry.names:
                if "[" in alias:
                    continue
                for name in ("a", "a/b/c"):
                    assert by_nginx(world, name, f"ns={alias}") == by_application(world, name, f"ns={alias}")
                    assert by_nginx(world, f"{alias}/{name}", None) == by_application(world, f"{alias}/{name}", None)


def test_a_long_name_that_is_none_takes_no_time() -> None:
    for name in ("a" * 8000 + "_", "a-" * 4000 + "_", "a/" * 4000 + "_", "a__" * 2500 + "-"):
        assert by_nginx(HUB_FIRST, name, None) is None
