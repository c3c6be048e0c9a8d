"""A pass lets others go first, also where the kernel shares processors out among sessions before it looks at nice."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.harness.programs import succeed

GROUP = Path("/proc/self/autogroup")
STEP_BACK = "from registry_cache.upkeep.priority import step_back; step_back(); import os; print(os.nice(0))"
# The last word of a session's group, if the kernel has groups.
TELL_GROUP = f"import os; print(open({str(GROUP)!r}).read().split()[-1] if os.path.exists({str(GROUP)!r}) else '')"


def told(program: str) -> list[str]:
    """What a Python in a session of its own prints."""
    return succeed([sys.executable, "-c", program], start_new_session=True).split()


def group(nice: str) -> list[str]:
    """What is printed of a group that is so nice; nothing where the kernel has none."""
    return [nice] if GROUP.exists() else []


def test_it_is_nice() -> None:
    assert told(STEP_BACK) == ["10"]


def test_one_that_was_started_nice_is_nicer() -> None:
    assert told(f"import os; os.nice(7); {STEP_BACK}") == ["17"]


def test_its_session_is_as_nice() -> None:
    assert told(f"import os; os.nice(4); {STEP_BACK}; {TELL_GROUP}") == ["14", *group("14")]


def test_from_cron_its_session_is_another_than_the_shells() -> None:
    within = f"subprocess.run([sys.executable, '-c', {f'{STEP_BACK}; {TELL_GROUP}'!r}], check=True)"
    assert told(f"import subprocess, sys; {within}; {TELL_GROUP}") == ["10", *group("10"), *group("0")]


def test_a_shell_that_it_was_typed_into_keeps_its_share_and_its_ctrl_c() -> None:
    program = f"{STEP_BACK}; print(os.getsid(0) == os.getpid()); {TELL_GROUP}"
    # A shell in between: what leads no group could leave the session.
    typed = shlex.join([sys.executable, "-c", program]) + "; true"
    assert succeed(["script", "-qec", typed, "/dev/null"]).split() == ["10", "False", *group("0")]
