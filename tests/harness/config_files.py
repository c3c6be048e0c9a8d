"""Write a configuration file, load it, and collect what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from registry_cache.config import Config, ConfigError, Problem, load_config


class Loader:
    """Loads configurations whose defaults stay inside one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.yml"

    def environ(self, text: str | bytes | None, extra: Mapping[str, str]) -> dict[str, str]:
        environ = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(self.folder / "store")}
        if text is not None:
            self.file.write_bytes(text.encode() if isinstance(text, str) else text)
            environ["REGISTRY_CACHE_CONFIG"] = str(self.file)
        return {**environ, **extra}

    def load(self, text: str | bytes | None = None, **extra: str) -> Config:
        return load_config(self.environ(text, extra))

    def problems(self, text: str | bytes | None = None, **extra: str) -> dict[str, Problem]:
        """By path; a configuration that loads fails the test."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, **extra)
        assert len({problem.path for problem in caught.value.problems}) == len(caught.value.problems)
        return {problem.path: problem for problem in caught.value.problems}
