r"""nginx' rules from a request line to the folder of the store that it means, as ``pull/routing.py`` decides it.

A rule is a PCRE and the folder it stands for; the first that matches holds. They are matched against the request line
as written, never against a decoded or normalized path: whatever is not written in the plainest way is left to the
application (P50). A missing rule costs time; a wrong one gives bytes to the wrong people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Only on Docker Hub does a name of one part mean a repository under library/ (P23).
HUB = "docker.io"

# What the map of queries yields where there is no query. No registry's name begins with a dash.
NO_QUERY = "-"
# The prefix of a request without conditions or ranges, which only the application understands.
PLAIN_REQUEST = "plainly"

# Possessive (++, *+): a long invalid name must cost no more than one look at each of its letters.
_PART = r"[a-z0-9]++(?:(?:\.|__?|-++)[a-z0-9]++)*+"
_NAME = rf"{_PART}(?:/{_PART})*"
_END = "/(?:blobs|manifests)/[a-z0-9:]+"
_WITH_QUERY = r"\?ns=[^/?&#]+$"


@dataclass(frozen=True, slots=True)
class Registry:
    """An upstream: its name, which is its folder's, and what else it is called."""

    name: str
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class Rule:
    """Where ``pattern`` is found in the text, ``folder`` is meant; it may name the pattern's groups as ``$group``."""

    pattern: str
    folder: str


def query_rules(registries: Sequence[Registry]) -> Iterator[Rule]:
    """Yield the rules from a query to a registry's name. The text is the query as written, without its mark."""
    for registry in registries:
        # containerd escapes the colon of a port.
        names = "|".join(re.escape(name).replace(":", "(?::|%3A)") for name in registry.names)
        yield Rule(f"^ns=(?:{names})$", registry.name)


def folder_rules(registries: Sequence[Registry]) -> Iterator[Rule]:
    """Yield the rules from a request to ``<registry>/<repository>``; the first registry is the default one.

    The text is PLAIN_REQUEST or nothing, a colon, what ``query_rules`` make of the query, and the request line's path
    and query as written.
    """
    default = registries[0]
    if any(registry.name == HUB for registry in registries):
        yield _rule(rf"{re.escape(HUB)}/v2", _PART, f"{HUB}/library", _WITH_QUERY)
    # A request that names a registry in the path as well as in the query is left to the application.
    listed = "|".join(re.escape(name) for registry in registries for name in registry.names)
    once = rf"(?!(?:{listed})/){_NAME}"
    yield _rule(r"(?<rc_registry>[a-z0-9\[][^/]*)/v2", once, "$rc_registry", _WITH_QUERY)
    for registry in registries:
        names = "|".join(map(re.escape, registry.names))
        yield from _plain_rules(f"{NO_QUERY}/v2/(?:{names})", registry.name, _NAME)
    # A dot before the first slash means another registry, and not one of ours: no account on the Hub has one.
    yield from _plain_rules(f"{NO_QUERY}/v2", default.name, rf"(?![^/]*\.){_NAME}" if default.name == HUB else _NAME)


def _plain_rules(start: str, registry: str, name: str) -> Iterator[Rule]:
    if registry == HUB:
        yield _rule(start, _PART, f"{HUB}/library", "$")
    yield _rule(start, name, registry, "$")


def _rule(start: str, name: str, folder: str, end: str) -> Rule:
    return Rule(f"^{PLAIN_REQUEST}:{start}/(?<rc_name>{name}){_END}{end}", f"{folder}/$rc_name")
