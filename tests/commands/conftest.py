"""The stories of this folder share one server. Servers have one worker, as no command asks how many there are."""

from collections.abc import Iterator
from functools import partial

import pytest

from tests.harness.fixture_types import MakeCache
from tests.harness.server import CacheServer
from tests.harness.shared_cache import cache, shared_by_many, shared_upstream, small_disk, upstream
from tests.harness.upstream import FakeUpstream

__all__ = ["cache", "shared_upstream", "small_disk", "upstream"]


@pytest.fixture(scope="package")
def shared_cache(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    with shared_by_many(shared_upstream, tmp_path_factory.mktemp("shared"), workers=1) as server:
        yield server


@pytest.fixture
def make_cache(make_cache: MakeCache) -> MakeCache:
    return partial(make_cache, workers=1)
