"""What several modules of this folder start from."""

import pytest

from tests.harness.pull_rig import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
