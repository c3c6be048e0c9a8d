"""A loader of configurations below the test's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.config_files import Loader


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)
