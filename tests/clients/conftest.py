"""Fixtures of the client tests. Programs are required where they are started."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.clients.containerd import running_containerd
from tests.clients.mirror import HUB, OTHER, Mirror
from tests.harness.programs import short_folder
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream


@contextmanager
def _running_mirror(folder: Path, workers: int) -> Iterator[Mirror]:
    """A cache with two upstreams."""
    with running(FakeUpstream()) as upstream, running(FakeUpstream()) as other:
        config = {"proxy": {"aliases": [HUB]}, "upstreams": {OTHER: {"remoteurl": other.url}}}
        with running_cache(folder, upstream, config=config, workers=workers) as cache:
            yield Mirror(cache, upstream, other)


@pytest.fixture(scope="session")
def shared_mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """The mirror of nearly all client tests."""
    with _running_mirror(tmp_path_factory.mktemp("mirror"), 2) as mirror:
        yield mirror


@pytest.fixture
def mirror(request: pytest.FixtureRequest, shared_mirror: Mirror, tmp_path: Path) -> Iterator[Mirror]:
    """A cache in front of two registries without faults. The test makes its own images.

    With any parameter it is the test's own: after an outage a cache does not trust its upstream again at once.
    """
    with ExitStack() as stack:
        own = hasattr(request, "param")
        mirror = stack.enter_context(_running_mirror(tmp_path / "mirror", 1)) if own else shared_mirror
        mirror.mend()
        mirror.upstream.forget()
        yield mirror
        mirror.mend()
        assert not mirror.upstream.problems + mirror.other.problems


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A temporary folder with a short path: see `short_folder`."""
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def containerd() -> Iterator[Path]:
    """The folder of a running containerd, which reads the mirrors' files at each pull."""
    with running_containerd() as folder:
        yield folder
