"""The quarantine: damaged bytes, out of reach of clients and kept for a week so that a person can look at them.

<root>/quarantine/<YYYY-MM-DD>/<algorithm>-<hex>-<inode>          the bytes; the day is UTC's
<root>/quarantine/<YYYY-MM-DD>/<algorithm>-<hex>-<inode>.json     what was wrong, and the names they had
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from registry_cache.oci.digest import Digest
from registry_cache.store import atomic_write, disk, modes
from registry_cache.store.disk import entries
from registry_cache.store.last_use import Tick
from registry_cache.store.layout import Layout

KEEP = timedelta(days=7)

# A note names this many of the repositories that had the bytes.
_MOST_NAMES = 100

# No room for a folder, or another file system: then the bytes are removed, so that no client gets a wrong answer.
_CANNOT_MOVE = {errno.ENOSPC, errno.EDQUOT, errno.EXDEV}


def path_for(layout: Layout, now: float, digest: Digest, inode: int) -> str:
    """Return where the bytes go; ``now`` in seconds since the epoch."""
    day = datetime.fromtimestamp(now, UTC).date()
    return f"{layout.quarantine}/{day}/{digest.algorithm}-{digest.hex}-{inode}"


def move(path: str, target: str) -> bool:
    """Move ``path`` to ``target``; remove it and return False where that is impossible. Raises OSError."""
    try:
        modes.make_folders(os.path.dirname(target))
        os.rename(path, target)
    except OSError as error:
        if error.errno not in _CANNOT_MOVE:
            raise
        disk.remove(path)
        return False
    # rename(2) does nothing if both are names of one file.
    disk.remove(path)
    return True


def write_note(target: str, digest: Digest, why: str, names: Sequence[str]) -> None:
    """Write beside the bytes what they were; nothing is written where the disk fails."""
    document = {"digest": str(digest), "why": why, "names": list(names[:_MOST_NAMES]), "more": len(names[_MOST_NAMES:])}
    with contextlib.suppress(OSError):
        atomic_write.write_whole(f"{target}.json", json.dumps(document, indent=2).encode())


def size(layout: Layout) -> int:
    """Return how many bytes are kept. Raises OSError."""
    total = 0
    for day in entries(layout.quarantine):
        for entry in entries(day.path):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def count(layout: Layout) -> int:
    """Return how many damaged files are kept. Raises OSError."""
    days = list(entries(layout.quarantine))
    return sum(1 for day in days for entry in entries(day.path) if not entry.name.endswith(".json"))


def expire(layout: Layout, now: float, tick: Tick) -> Iterator[str]:
    """Unlink what has been kept long enough at ``now``, in seconds since the epoch; yield each. Raises OSError."""
    last = datetime.fromtimestamp(now, UTC).date() - KEEP
    for day in entries(layout.quarantine):
        with contextlib.suppress(ValueError):
            if date.fromisoformat(day.name) < last:
                yield from _empty(day.path, tick)


def _empty(folder: str, tick: Tick) -> Iterator[str]:
    for entry in entries(folder):
        tick()
        if disk.remove(entry.path):
            yield entry.path
    with contextlib.suppress(OSError):  # Gone, or somebody is moving more into it.
        os.rmdir(folder)
        yield folder
