"""One cache behind nginx for all stories of this folder.

Each story has a repository of its own, so what others stored is no help.
"""

from collections.abc import Iterator

import pytest

from tests.harness.nginx_rig import Behind, running
from tests.harness.programs import short_folder


@pytest.fixture(scope="package")
def shared_behind() -> Iterator[Behind]:
    with short_folder() as folder, running(folder) as behind:
        yield behind


@pytest.fixture
def behind(shared_behind: Behind) -> Iterator[Behind]:
    """A cache with nginx in front of it; upstream has no faults."""
    shared_behind.upstream.forget()
    yield shared_behind
    shared_behind.upstream.reset_faults()
