"""A pass lets others go first, also where the kernel shares processors out among sessions before it looks at nice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GROUP = Path("/proc/self/autogroup")
STEP_BACK = "from registry_cache.priority import step_back; step_back(); import os; print(os.nice(0))"
TELL_GROUP = f"print(open({str(GROUP)!r}).read())"
grouped = pytest.mark.skipif(not GROUP.exists(), reason="a kernel without groups of sessions")


def told(program: str) -> list[str]:
    """What a Python in a session of its own prints."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_it_is_nice() -> None:
    assert told(STEP_BACK) == ["10"]


def test_one_that_was_started_nice_is_nicer() -> None:
    assert told(f"import os; os.nice(7); {STEP_BACK}") == ["17"]


@grouped
def test_its_session_is_as_nice() -> None:
    assert told(f"import os; os.nice(5); {STEP_BACK}; {TELL_GROUP}")[-2:] == ["nice", "15"]


@grouped
def test_a_shell_that_it_was_typed_into_keeps_its_share() -> None:
    within = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STEP_BACK!r}], check=True)"
    assert told(f"{within}; {TELL_GROUP}")[-2:] == ["nice", "0"]
