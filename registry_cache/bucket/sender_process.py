"""Start the process that writes to the bucket, whenever there is something to send and nobody sends.

Each worker has one SenderProcess; it imports no boto3. Of several that start one at once, all but one find the lock
taken and end.
"""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from registry_cache.bucket.settings import BucketSettings, Count, dump
from registry_cache.bucket.use import is_due
from registry_cache.errors import StoreError
from registry_cache.runtime import log
from registry_cache.store import disk, locks
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import Outbox

# Between two looks whether there is anything to send; by up to half of it more, so that workers do not start one each.
_LOOK_SECONDS = 1.0
# A process that ends sooner than this has failed, and the next one waits: twice as long each time.
_SOON_SECONDS = 2.0
_FIRST_PAUSE, _LAST_PAUSE = 2.0, 60.0

_log = log.Log(__name__)


@dataclass(slots=True)
class SenderProcess:
    """Sends what is in the outbox of ``layout`` to ``bucket``; ``limit``: bytes that only the outbox may hold."""

    layout: Layout
    bucket: BucketSettings
    limit: int
    count: Count
    log_level: str
    log_formatter: str
    _pause: float = field(default=0.0, init=False)

    def begin(self) -> None:
        """Look from now on, for as long as this process lives."""
        threading.Thread(target=self._run, name="sender", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._pause + _LOOK_SECONDS * random.uniform(1.0, 1.5))  # noqa: S311 — jitter
            if self._is_needed():
                self._pause = self._next_pause(self.send())

    def send(self) -> float:
        """Start a process and wait for its end; return for how many seconds it ran."""
        began = time.monotonic()
        try:
            self._send()
        except OSError as error:
            _log.error("could not start the process that writes to the bucket", error=error)
        return time.monotonic() - began

    def _is_needed(self) -> bool:
        try:
            with disk.store_errors("look for a sender"):
                has_work = not Outbox(self.layout).is_empty() or is_due(self.layout, time.time())
                return has_work and not locks.is_locked(self.layout.sender_lock)
        except StoreError as error:
            _log.debug("could not look into the outbox", error=error)
            return False

    def _next_pause(self, ran: float) -> float:
        if ran > _SOON_SECONDS or not self._is_needed():
            return 0.0
        return min(_LAST_PAUSE, self._pause * 2) or _FIRST_PAUSE

    def _send(self) -> None:
        # In a session of its own, so that Ctrl-C at the server's terminal does not reach it.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "registry_cache.bucket.sender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if log.is_set_up() else subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 — for mypy: it is a pipe
        assert process.stdout is not None  # noqa: S101 — so is this
        line = dump(
            self.bucket,
            root=self.layout.root,
            limit=self.limit,
            level=self.log_level,
            formatter=self.log_formatter,
        )
        with process.stdin, process.stdout, contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            # It stays open: its end is how the process learns of ours.
            process.stdin.flush()
            for said in process.stdout:
                self._hear(said)
        process.wait()

    def _hear(self, said: str) -> None:
        with contextlib.suppress(ValueError, TypeError):
            operation, status, size = json.loads(said)
            self.count(str(operation), status, int(size))
