"""A real object store for the tests of a bucket; they run once in CI, as root, since it takes long to start."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from tests.harness.ceph import Ceph, TestBucket, ceph
from tests.harness.fixture_types import MakeCache
from tests.harness.valve import Valve

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.needs_root)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """Ceph, running; what a test breaks it mends."""
    with ceph(tmp_path_factory.mktemp("ceph")) as found:
        yield found


@pytest.fixture
def bucket(object_store: Ceph) -> TestBucket:
    """An empty bucket."""
    return object_store.bucket()


@pytest.fixture
def make_valve() -> Iterator[Callable[..., Valve]]:
    """A function that makes a relay to the server at a URL."""
    with ExitStack() as stack:
        yield lambda url, **options: stack.enter_context(closing(Valve(url, **options)))


@pytest.fixture
def make_cache(make_cache: MakeCache) -> MakeCache:
    """The usual one, of nodes with a single worker: no story here is about two of a node's."""
    return partial(make_cache, workers=1)
