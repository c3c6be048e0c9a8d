"""A client's command line."""

import subprocess
from collections.abc import Mapping, Sequence

from tests.harness import programs


class Tool:
    """A program with its global options and its environment."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = env

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it until it exits, whatever its status."""
        return programs.run([*self._command, *arguments], self._env)

    def output(self, *arguments: str) -> str:
        """Run it successfully, and return its standard output."""
        return programs.succeed([*self._command, *arguments], self._env)
