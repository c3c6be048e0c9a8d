"""A client's command line."""

import subprocess
from collections.abc import Mapping, Sequence

from tests.harness import programs


class Tool:
    """A program with its global options, always run in the same environment."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = env

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """To its end, whatever its exit status."""
        return programs.run([*self._command, *arguments], self._env)

    def output(self, *arguments: str) -> str:
        """What it prints; it must not fail."""
        return programs.succeed([*self._command, *arguments], self._env)
