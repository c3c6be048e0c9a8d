"""What a client is told of a rate limit, by the form in which it names the registry."""

from __future__ import annotations

import pytest

from registry_cache.pull.routing import FallbackChoice, ServedUpstream, Upstreams
from registry_cache.pull.target import TagPolicy
from tests.harness.upstream_rig import connect


@pytest.mark.parametrize(
    ("choice", "name", "namespace", "expected"),
    [
        # As clients ask a mirror: they can go on to the registry.
        ("auto", "library/app", None, "unavailable"),
        ("auto", "library/app", "hub.example", "unavailable"),
        ("auto", "hub.example/library/app", "hub.example", "unavailable"),
        # As they ask what they were told to pull from.
        ("auto", "hub.example/library/app", None, "honest"),
        ("auto", "HUB.example/library/app", None, "honest"),
        ("honest", "library/app", None, "honest"),
        ("unavailable", "hub.example/library/app", None, "unavailable"),
        ("notfound", "hub.example/library/app", None, "notfound"),
        ("notfound", "library/app", "hub.example", "notfound"),
    ],
)
def test_the_fallback(choice: FallbackChoice, name: str, namespace: str | None, expected: str) -> None:
    served = ServedUpstream(connect("http://127.0.0.1:9"), ("hub.example",), TagPolicy(), choice)
    route = Upstreams(served).route(name, {"ns": namespace} if namespace else {})
    assert route.fallback == expected
