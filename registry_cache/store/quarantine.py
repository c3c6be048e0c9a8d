"""The quarantine: damaged bytes that no client gets any more, kept for a week so that a person can look.

<root>/quarantine/<YYYY-MM-DD>/<algorithm>-<hex>-<inode>          the bytes; the day is UTC's
<root>/quarantine/<YYYY-MM-DD>/<algorithm>-<hex>-<inode>.json     what was wrong, and the names that they had
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

from registry_cache.oci.digest import Digest
from registry_cache.store import disk
from registry_cache.store.last_use import Tick, entries
from registry_cache.store.layout import Layout

KEEP = timedelta(days=7)

# A note names this many of the repositories that had the bytes.
_MOST_NAMES = 100

# Where there is no room for a folder, or it is on another disk, the bytes are not worth a wrong answer to a client.
_NO_WAY = {errno.ENOSPC, errno.EDQUOT, errno.EXDEV}


def place(layout: Layout, now: float, digest: Digest, inode: int) -> str:
    """Return where the bytes go; ``now`` in seconds since the epoch."""
    day = datetime.fromtimestamp(now, UTC).date()
    return f"{layout.quarantine}/{day}/{digest.algorithm}-{digest.hex}-{inode}"


def take(path: str, target: str) -> bool:
    """Move ``path`` to its place, or remove it where that cannot be: then False. Raises OSError."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(path, target)
    except OSError as error:
        if error.errno not in _NO_WAY:
            raise
        disk.remove(path)
        return False
    # Two names of one file: rename(2) does nothing.
    disk.remove(path)
    return True


def note(target: str, digest: Digest, why: str, names: Sequence[str]) -> None:
    """Write beside the bytes what they were; a disk that takes no note costs the note."""
    document = {"digest": str(digest), "why": why, "names": list(names[:_MOST_NAMES]), "more": len(names[_MOST_NAMES:])}
    with contextlib.suppress(OSError):
        disk.write_whole(f"{target}.json", json.dumps(document, indent=2).encode())


def size(layout: Layout) -> int:
    """Return how many bytes are kept. Raises OSError."""
    total = 0
    for day in entries(layout.quarantine):
        for entry in entries(day.path):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
    return total


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
    with contextlib.suppress(OSError):  # Gone, or somebody keeps more in it.
        os.rmdir(folder)
        yield folder
