"""Real programs that some tests need."""

import os
import shutil

import pytest


def require(program: str) -> str:
    """The path of a program; without it the test is skipped on a laptop and fails in CI."""
    # Daemons such as nginx lie where an ordinary user's PATH does not lead.
    path = shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")
    if path is not None:
        return path
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed, and CI must have it")
    pytest.skip(f"{program} is not installed")
