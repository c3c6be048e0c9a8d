"""The priority of what is in no hurry: a pass over the store, beside which pulls go first."""

from __future__ import annotations

import contextlib
import os
import time

_NICE = 10

_TERMINAL = "/dev/tty"
_AUTOGROUP = "/proc/self/autogroup"
# The kernel takes one such wish in a tenth of a second, of all users together.
_TRIES, _PAUSE_SECONDS = 5, 0.11


def step_back() -> None:
    """Let everybody else on this machine go first; for a process of its own.

    Where the kernel groups processes by session, as most do, it shares the processors out among sessions first, and a
    nice value counts within one: merely nice, a pass from cron would take as much as all workers together. So its
    session gets the value, too, where nobody else is in it.
    """
    nice = os.nice(_NICE)
    if not _has_terminal():
        # Cron's line is run by a shell, whose session others may share. Fails for one that leads a group already.
        with contextlib.suppress(PermissionError):
            os.setsid()
    if os.getsid(0) == os.getpid():
        _group(nice)


def _has_terminal() -> bool:
    """Tell whether somebody may press Ctrl-C, which does not reach into another session."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _group(nice: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(_TRIES):
            try:
                with open(_AUTOGROUP, "w", encoding="ascii") as file:
                    file.write(str(nice))
                return
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
