"""The types of fixtures that are functions (tests/conftest.py)."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


class MakeUpstream(Protocol):
    """Starts one more fake upstream."""

    def __call__(self, *, tls: ssl.SSLContext | None = None) -> FakeUpstream: ...


class MakeCache(Protocol):
    """Starts one more cache in front of `upstream`, or of the registry at `url`; see CacheServer."""

    def __call__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        url: str | None = None,
        environment: Mapping[str, str] | None = None,
        root: Path | None = None,
        workers: int = 2,
        application: str = "wsgi:app",
        started: bool = True,
    ) -> CacheServer: ...


MakePuller = Callable[[str], Puller]
