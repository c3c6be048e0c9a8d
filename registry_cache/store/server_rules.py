"""The rules that a store's server runs with, for commands that evict: they must not guess others.

    <root>/rules.json      {"version": 1, "configuration": where they came from, "rules": {key: value}}

The server writes it at its start and at each reload. A store without it, or with one that cannot be read, has no known
rules: any command may clean it up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from registry_cache.store import disk
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout

_VERSION = 1


@dataclass(frozen=True, slots=True)
class ServerRules:
    """``rules`` by the keys of the configuration, each as that would hold it; ``configuration``: where it came from."""

    configuration: str
    rules: Mapping[str, str]


def remember(layout: Layout, rules: ServerRules) -> None:
    """Let ``rules`` be those that the store's server runs with from now on. Raises StoreError."""
    document = {"version": _VERSION, "configuration": rules.configuration, "rules": dict(rules.rules)}
    with disk.store_errors("note the server's rules"):
        write_whole(layout.rules, json.dumps(document, indent=1).encode())


def recall(layout: Layout) -> ServerRules | None:
    """Return the rules that the store's server runs with, or ran with last; None where nobody knows."""
    try:
        document = json.loads(disk.read_whole(layout.rules) or b"null")
        rules = {str(key): str(value) for key, value in document["rules"].items()}
        return ServerRules(str(document["configuration"]), rules)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
