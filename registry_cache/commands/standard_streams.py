"""Standard input, output and error, of which whoever starts a program may have closed any (``2>&-``, some daemons)."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Let each that is closed be the null device.

    Otherwise the next file that is opened has its number, and what is printed goes into that: into a blob, say. And
    Python has None in the stream's place, at which every ``print(file=…)`` and ``flush`` fails.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one: those below are open.
            descriptor = os.open(os.devnull, os.O_RDWR)
            # For the server that this process becomes, and for programs that it starts.
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)
