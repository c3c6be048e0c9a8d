"""The application, in a worker that writes down the longest turn of its loop: what `Watchdog` reads.

    CacheServer(…, application="tests.harness.watched:app", workers=1)

A turn is what one greenlet does between two switches, in seconds of the loop's own thread on a core. What the worker
waits for a core, on a machine with other work, is no part of it: a wall clock would count it.
"""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

import greenlet

from wsgi import app

__all__ = ["app"]

# Beside the configuration, which is in a folder that the test made.
TURNS = Path(os.environ["REGISTRY_CACHE_CONFIG"]).with_name("longest-turn")
# A shorter turn is of no interest, and most are a hundred times shorter.
SHORTEST_SECONDS = 0.005
_FRAMES = 6


class _Turns:
    """Called at each switch in the loop's thread."""

    def __init__(self) -> None:
        self._began = time.thread_time()

    def __call__(self, event: str, greenlets: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        took = time.thread_time() - self._began
        if took > SHORTEST_SECONDS:
            _note(took, greenlets[0])
        self._began = time.thread_time()


def _note(took: float, switched: greenlet.greenlet) -> None:
    """Write ``took`` down, and where the turn ended, unless a longer one is."""
    try:
        longest = float(TURNS.read_text().partition(" ")[0])
    except FileNotFoundError:
        longest = 0.0
    if took > longest:
        stack = reversed(traceback.extract_stack(switched.gr_frame)) if switched.gr_frame else ()
        calls = [f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in stack][:_FRAMES]
        beside = TURNS.with_suffix(".new")
        beside.write_text(f"{took:.4f} " + " < ".join(calls or [repr(switched)]))
        beside.replace(TURNS)


# Of this thread alone, which is the loop's.
greenlet.settrace(_Turns())
