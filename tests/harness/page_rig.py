"""The page of a running cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.harness.fixture_types import MakeCache
from tests.harness.server import CacheServer
from tests.harness.waiting import eventually

DEBUG = {"http": {"debug": {"addr": "127.0.0.1:0"}}}


def watched_cache(make_cache: MakeCache, config: Mapping[str, Any] | None = None, **options: Any) -> CacheServer:
    """A cache with a page, on a port of the kernel's choice."""
    return make_cache({**DEBUG, **(config or {})}, **options)


def debug_url(cache: CacheServer) -> str:
    """Where it has its metrics, its health and its page, without a slash at the end."""
    return f"http://{debug_address(cache.log_text)}"


def debug_address(log_text: Callable[[], str]) -> str:
    """The same as `host:port`, as soon as the log tells it."""
    pattern = r"metrics and health on http://\S+:([0-9]+)[,\s]"
    eventually(lambda: re.search(pattern, log_text()))
    # By this address it is reached on whichever address it listens.
    return f"127.0.0.1:{re.findall(pattern, log_text())[-1]}"
