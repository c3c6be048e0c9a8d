"""What workers know of upstreams, for each other and for ``registry-cache status``: one small file an upstream.

    <root>/upstreams/<name>.json       limits; since when it is down and why; what was wrong twice

Losing it costs a question to upstream. A file that cannot be read is treated as missing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log
from registry_cache.store import disk, locks
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from registry_cache.store.unchanged_files import UnchangedFiles

Values = dict[str, object]

# Writing a note takes a millisecond: whoever holds the lock for this long is stopped, and a note that may be lost is
# better than a request that waits for it.
LOCK_TIMEOUT_SECONDS = 1.0

_log = Log(__name__)


class UpstreamNote:
    """What is known of one upstream: JSON values by topic."""

    def __init__(self, layout: Layout, upstream: str) -> None:
        self._path = layout.upstream_note(upstream)
        self._lock = layout.upstream_note_lock(upstream)
        self._mutex = threading.Lock()
        self._files = UnchangedFiles(_load)

    def read(self) -> Values:
        """Return what any worker wrote last; {} where nothing is known. One stat if nothing has changed."""
        with self._mutex:
            try:
                return dict(self._files.get(self._path))
            except OSError:
                return {}

    def change(self, topic: str, change: Callable[[object], object]) -> None:
        """Replace the value of a topic by what ``change`` makes of it; None stands for no value, before and after.

        One worker at a time, if the lock comes free in time: otherwise one could overwrite what another has just noted.
        If the disk fails, that is only logged.
        """
        try:
            with disk.store_errors("note the state of an upstream"):
                lock = locks.wait_for(lambda: locks.try_lock(self._lock), LOCK_TIMEOUT_SECONDS)
                try:
                    self._change(topic, change)
                finally:
                    if lock:
                        lock.release()
        except StoreError as error:
            _log.warning("could not note the state of an upstream", error=error)

    def _change(self, topic: str, change: Callable[[object], object]) -> None:
        values = _load(self._path)
        before = values.get(topic)
        after = change(before)
        if after == before:
            return
        if after is None:
            del values[topic]
        else:
            values[topic] = after
        write_whole(self._path, json.dumps(values).encode())


def _load(path: str) -> Values:
    try:
        values = json.loads(disk.read_whole(path) or b"{}")
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
