"""A pass lets others go first, also where the kernel shares processors out among sessions before it looks at nice."""

from __future__ import annotations

import shlex
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
def test_from_cron_its_session_is_another_than_the_shells() -> None:
    within = f"subprocess.run([sys.executable, '-c', {f'{STEP_BACK}; {TELL_GROUP}'!r}], check=True)"
    words = told(f"import subprocess, sys; {within}; {TELL_GROUP}")
    assert [words[2], words[5]] == ["nice", "nice"], words
    assert [words[3], words[6]] == ["10", "0"], words


@grouped
def test_a_shell_that_it_was_typed_into_keeps_its_share_and_its_ctrl_c() -> None:
    program = f"{STEP_BACK}; print(os.getsid(0) == os.getpid()); {TELL_GROUP}"
    # A shell in between: what leads no group could leave the session.
    typed = shlex.join([sys.executable, "-c", program]) + "; true"
    done = subprocess.run(
        ["script", "-qec", typed, "/dev/null"], capture_output=True, text=True, check=True, timeout=60
    )
    nice, alone, _, *group = done.stdout.split()
    assert (nice, alone, group) == ("10", "False", ["nice", "0"])
