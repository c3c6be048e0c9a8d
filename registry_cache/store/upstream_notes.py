"""What workers know of upstreams, for each other and for ``registry-cache status``: one small file an upstream.

    <root>/upstreams/<name>.json       limits; since when it is down and why

Losing it costs a question to upstream. A file that cannot be read is one that is not there.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log
from registry_cache.store import disk, locks
from registry_cache.store.layout import Layout

Values = dict[str, object]

# Seconds to wait for whoever writes a note, and between two looks. It takes a millisecond: who holds the lock for so
# long is stopped, and a note that may be lost is better than a request that waits for it.
PATIENCE = 1.0
_POLL = 0.002

_log = Log(__name__)


@dataclass(slots=True)
class _Cached:
    """What was read last, and the file's identity then."""

    stamp: tuple[int, int] = (0, 0)
    values: Values | None = None


class UpstreamNote:
    """The notice of one upstream: JSON values by topic."""

    def __init__(self, layout: Layout, upstream: str) -> None:
        self._path = layout.notice(upstream)
        self._lock = layout.notice_lock(upstream)
        self._mutex = threading.Lock()
        self._cached = _Cached()

    def read(self) -> Values:
        """Return what any worker wrote last; {} where nothing is known. One stat where nothing has changed."""
        with self._mutex:
            try:
                found = os.stat(self._path)
            except OSError:
                return {}
            stamp = (found.st_mtime_ns, found.st_ino)
            if self._cached.values is None or stamp != self._cached.stamp:
                self._cached = _Cached(stamp, self._load())
            return dict(self._cached.values or {})

    def change(self, topic: str, change: Callable[[object], object]) -> None:
        """Replace one topic by what ``change`` makes of it; None is a topic without a value, before and after.

        One at a time, of all workers: else what one has noted would be lost where another had read before. A disk that
        takes no note costs a question, so it is only logged.
        """
        try:
            with disk.store_errors("note the state of an upstream"), self._alone():
                values = self._load()
                before = values.get(topic)
                after = change(before)
                if after == before:
                    return
                if after is None:
                    del values[topic]
                else:
                    values[topic] = after
                disk.write_whole(self._path, json.dumps(values).encode())
        except StoreError as error:
            _log.warning("could not note the state of an upstream", error=error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the notice's lock inside, if it comes free in time. Raises OSError."""
        deadline = time.monotonic() + PATIENCE
        while (lock := locks.try_lock(self._lock)) is None and time.monotonic() < deadline:
            time.sleep(_POLL)
        if lock is None:
            yield
            return
        with lock:
            try:
                yield
            finally:
                lock.retire()

    def _load(self) -> Values:
        try:
            values = json.loads(disk.read_whole(self._path) or b"{}")
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}
