"""Lower the priority of this process, so that pulls go before a long pass over the store."""

from __future__ import annotations

import contextlib
import os
import time

_NICE = 10

_TERMINAL = "/dev/tty"
_AUTOGROUP = "/proc/self/autogroup"
# The kernel accepts one such request in a tenth of a second, from all users together.
_TRIES, _PAUSE_SECONDS = 5, 0.11


def step_back() -> None:
    """Let every other process on this machine go first. Only for a process that does nothing else.

    Most kernels group processes by session: they divide the processors among sessions first, and a nice value counts
    only within one. With a nice value alone, a pass started by cron would get as much as all workers together. So the
    session gets the value, too, if no other process is in it.
    """
    nice = os.nice(_NICE)
    if not _has_terminal():
        # Cron runs a command by a shell, whose session others may share. Fails for the leader of a process group.
        with contextlib.suppress(PermissionError):
            os.setsid()
    if os.getsid(0) == os.getpid():
        _group(nice)


def _has_terminal() -> bool:
    """Whether somebody may press Ctrl-C, which does not reach into another session."""
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
