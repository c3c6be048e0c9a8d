"""Fixtures of the tests of the harness itself."""

import pytest

from tests.harness.fixture_types import MakePuller
from tests.harness.images import MiB, random_bytes
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream


@pytest.fixture
def blob(upstream: FakeUpstream) -> str:
    """The digest of a blob of 1 MiB that upstream has."""
    return upstream.add_blob(random_bytes(1 * MiB, seed=1))


@pytest.fixture
def direct(upstream: FakeUpstream, make_puller: MakePuller) -> Puller:
    """A client of the upstream, without a cache between them."""
    return make_puller(upstream.url)
