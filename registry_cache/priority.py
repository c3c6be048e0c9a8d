"""The priority of what is in no hurry: a pass over the store, beside which pulls go first."""

from __future__ import annotations

import contextlib
import os
import time

_NICE = 10

_AUTOGROUP = "/proc/self/autogroup"
# The kernel takes one such wish in a tenth of a second, of all users together.
_TRIES, _PAUSE_SECONDS = 5, 0.11


def step_back() -> None:
    """Let everybody else on this machine go first; for a process of its own."""
    nice = os.nice(_NICE)
    # Where the kernel groups processes by session, as most do, it shares the processors out among sessions first, and
    # a nice value counts within one. From cron, from systemd and from the server a pass is a session: it would take as
    # much as all workers together. Somebody's shell keeps what it has.
    if os.getsid(0) == os.getpid():
        _group(nice)


def _group(nice: int) -> None:
    with contextlib.suppress(OSError):
        for _ in range(_TRIES):
            try:
                with open(_AUTOGROUP, "w", encoding="ascii") as file:
                    file.write(str(nice))
                return
            except BlockingIOError:
                time.sleep(_PAUSE_SECONDS)
