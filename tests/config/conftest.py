"""A loader of configurations below the test's own folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.config_files import Loader


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder that an ordinary user may enter, unlike pytest's own, and in which he may make files."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)
