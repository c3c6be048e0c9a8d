"""Servers that run as long as a `with` block."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.harness.loopback import Loopback
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

Fake = TypeVar("Fake", bound=Loopback)


@contextmanager
def running(fake: Fake) -> Iterator[Fake]:
    """Stop a fake server at the end, and fail over anything it saw that must not be."""
    try:
        yield fake
    finally:
        fake.stop()
    assert not fake.problems


@contextmanager
def running_cache(folder: Path, upstream: FakeUpstream, **options: Any) -> Iterator[CacheServer]:
    """A cache in front of `upstream`; `options` are CacheServer's. At the end it must stop without a traceback."""
    cache = CacheServer(folder, upstream.url, **options)
    try:
        yield cache
        # A transfer that waits at a gate would keep its worker from stopping.
        upstream.faults.release()
        cache.stop()
    finally:
        cache.close()
