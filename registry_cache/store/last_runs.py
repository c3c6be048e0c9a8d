"""When a cleanup and a verify last ended, and what the verify left: kept in the store for monitoring."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass

from registry_cache.store import disk
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout


@dataclass(frozen=True, slots=True)
class LastRuns:
    """Seconds since the epoch, None where none has run; ``damage``: how many faults the verify has left."""

    cleanup: float | None = None
    verify: float | None = None
    damage: int | None = None


def note_verify(layout: Layout, now: float, damage: int) -> None:
    """A verify has ended. Who may read the store and not write into it may verify it, so no error is raised."""
    with contextlib.suppress(OSError):
        write_whole(layout.last_verify, json.dumps({"damage": damage}).encode(), modified=int(now * 10**9))


def read_last_runs(layout: Layout) -> LastRuns:
    """Return what is known; a file that cannot be read says nothing."""
    cleanup, verify = _mtime(layout.last_cleanup), _mtime(layout.last_verify)
    damage = None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        damage = int(json.loads(disk.read_whole(layout.last_verify) or b"")["damage"])
    return LastRuns(cleanup, verify, damage)


def _mtime(path: str) -> float | None:
    try:
        found = disk.stat(path)
    except OSError:
        return None
    return found.st_mtime if found else None
