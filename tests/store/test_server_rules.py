"""The note of the server's rules: written whole, and believed only where it can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache.errors import StoreError
from registry_cache.store import server_rules
from registry_cache.store.layout import Layout
from registry_cache.store.server_rules import ServerRules

RULES = ServerRules("/etc/registry-cache/config.yml", {"proxy.ttl": "168h", "upstreams": "docker.io, ghcr.io"})


def test_what_the_server_noted_is_read(layout: Layout) -> None:
    assert server_rules.recall(layout) is None
    server_rules.remember(layout, RULES)
    assert server_rules.recall(layout) == RULES


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"rules": 1}', b'{"rules": {}}', b"[" * 100_000])
def test_what_cannot_be_read_is_no_rule(layout: Layout, data: bytes) -> None:
    Path(layout.rules).write_bytes(data)
    assert server_rules.recall(layout) is None


def test_a_disk_that_refuses(layout: Layout) -> None:
    Path(layout.rules).mkdir()
    with pytest.raises(StoreError, match="could not note the server's rules"):
        server_rules.remember(layout, RULES)
    assert server_rules.recall(layout) is None
