"""What workers know of upstreams, for each other and for ``registry-cache status``: one small file an upstream.

    <root>/upstreams/<name>.json       limits; since when it is down and why

Losing it costs a question to upstream. A file that cannot be read is one that is not there.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.log import Log
from registry_cache.store import disk
from registry_cache.store.layout import Layout

Values = dict[str, object]

_log = Log(__name__)


@dataclass(slots=True)
class _Cached:
    """What was read last, and the file's identity then."""

    stamp: tuple[int, int] = (0, 0)
    values: Values | None = None


class Notice:
    """The notice of one upstream: JSON values by topic."""

    def __init__(self, layout: Layout, upstream: str) -> None:
        self._path = layout.notice(upstream)
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

    def write(self, topic: str, value: object) -> None:
        """Replace one topic; None removes it. A disk that takes no note costs a question, so it is only logged."""
        values = self.read()
        if value is None:
            values.pop(topic, None)
        else:
            values[topic] = value
        try:
            with disk.reporting("note the state of an upstream"):
                disk.write_whole(self._path, json.dumps(values).encode())
        except StoreError as error:
            _log.warning("could not note the state of an upstream", error=error)

    def _load(self) -> Values:
        try:
            values = json.loads(disk.read_whole(self._path) or b"{}")
        except (OSError, ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}
