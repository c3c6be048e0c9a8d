"""Write to the bucket what the outbox holds: ``python -m registry_cache.bucket.sender``, one process a node.

Workers start it when there is something to send and nobody sends. Its settings come by the pipe on its standard input,
since they hold the bucket's secret key. When that pipe closes, its worker is gone and it ends, and another worker
starts the next one. What it counts it prints, a line a request. It ends as well when nothing came for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.settings import load
from registry_cache.bucket.use import Renewable, hand_on, is_due
from registry_cache.errors import StoreError
from registry_cache.runtime import log
from registry_cache.store import locks
from registry_cache.store.bucket_note import BucketNote
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import ORDER, Outbox, OutboxEntry

# After a failure. The last one is so short that all is sent within a minute of the bucket's return.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 30.0
# Between two looks into an empty outbox, and how long it may be empty before the process ends.
LOOK_SECONDS, IDLE_SECONDS = 0.25, 60.0
# Uploads at once. Each of a large blob has one part in memory.
_UPLOADS = 2
# Answers without an end; each keeps a thread and a connection. Then the process ends, and the next one begins anew.
_MOST_ENDLESS = 4
# After the worker is gone, uploads may end within this.
_GRACE_SECONDS = 5.0

# When run by -m this module is called __main__, which has no log.
_log = log.Log("registry_cache.bucket.sender")


@dataclass(eq=False, slots=True)
class Sender:
    """Sends what is in ``outbox`` by ``send``, until ``is_over``. ``limit``: bytes that only the outbox may hold.

    ``send`` raises BucketAway where nothing can be sent now, ObjectRefused where one entry never can. ``tell_use`` is
    called whenever all was sent.
    """

    outbox: Outbox
    limit: int
    send: Callable[[OutboxEntry], None]
    is_over: threading.Event
    note: BucketNote
    tell_use: Callable[[], None]
    _pause: float = field(default=0.0, init=False)

    def run(self) -> None:
        """Return when nothing has come for a while, or when it is over. Raises StoreError."""
        idle_since = time.monotonic()
        while not self.is_over.is_set():
            entries = self.outbox.entries()
            # Only an empty outbox ends it: a pause, or a machine that stood still, may be longer than it may be empty.
            if not entries and time.monotonic() >= idle_since + IDLE_SECONDS:
                return
            if entries:
                self._trim()
                self._pass(entries)
                idle_since = time.monotonic()
                # Not at the start alone: where there is always something to send, this process lives for days.
                if not self._pause:
                    self.tell_use()
            wait = self._pause * random.uniform(0.7, 1.0)  # noqa: S311 — jitter
            self.is_over.wait(max(LOOK_SECONDS, wait))

    def _trim(self) -> None:
        gone = self.outbox.trim(self.limit)
        if gone:
            _log.warning("the outbox was too large; the bucket will not get its oldest entries", entries=gone)

    def _pass(self, entries: list[OutboxEntry]) -> None:
        """Send all entries, what is named before what names it; stop where the bucket takes none."""
        try:
            with ThreadPoolExecutor(_UPLOADS) as pool:
                for kind in ORDER:
                    self._send_all(pool, [entry for entry in entries if entry.kind == kind])
        except BucketAway as error:
            if not self._pause:
                _log.warning("the bucket takes nothing; what it is to get waits in the outbox", error=error)
            self.note.write(str(error))
            self._pause = min(LAST_PAUSE_SECONDS, self._pause * 2) or FIRST_PAUSE_SECONDS
            return
        if self.is_over.is_set():
            return
        # Whoever wrote it: a process before this one may have.
        self.note.clear()
        if self._pause:
            _log.info("the bucket takes again what waits in the outbox", entries=len(entries))
        self._pause = 0.0

    def _send_all(self, pool: ThreadPoolExecutor, entries: Iterable[OutboxEntry]) -> None:
        failed = threading.Event()

        def send(entry: OutboxEntry) -> None:
            if failed.is_set() or self.is_over.is_set():
                return
            try:
                self._send_one(entry)
            except BaseException:
                failed.set()
                raise

        for _ in pool.map(send, entries):
            pass

    def _send_one(self, entry: OutboxEntry) -> None:
        try:
            self.send(entry)
        except ObjectRefused as error:
            _log.error("the bucket does not get what it never takes", name=entry.name, error=error)
        except FileNotFoundError:
            # Trimmed meanwhile.
            _log.debug("an entry of the outbox is gone", name=entry.name)
        self.outbox.remove(entry)


def main() -> int:
    """Read the settings and send; returns the exit status."""
    os.nice(5)
    line = sys.stdin.readline()
    if not line:
        # The worker ended before it had told us.
        return 0
    settings, more = load(line)
    log.setup(str(more["level"]), "json" if more["formatter"] == "json" else "text")
    layout = Layout(Path(str(more["root"])))
    lock = locks.try_lock(layout.sender_lock)
    if lock is None:
        return 0
    is_over = threading.Event()
    threading.Thread(target=_await_end, args=(is_over,), daemon=True).start()
    try:
        # Not before the lock: most of the processes that are started find it taken, and this takes half a second.
        from registry_cache.bucket.answer_time import AnswerTime
        from registry_cache.bucket.delivery import Delivery
        from registry_cache.bucket.objects import Objects, bound_memory

        bound_memory()
        objects = Objects(settings, _tell, AnswerTime(_end_after(_MOST_ENDLESS, is_over)))
        delivery = Delivery(objects, settings.part_size)
        limit = int(str(more["limit"]))

        def tell_use() -> None:
            _hand_on(layout, objects)

        tell_use()
        Sender(Outbox(layout), limit, delivery.send, is_over, BucketNote(layout), tell_use).run()
    except StoreError as error:
        _log.error("the sender failed", error=error)
        return 1
    finally:
        lock.release()
    return 0


def _end_after(most: int, is_over: threading.Event) -> Callable[[], None]:
    """Return what sets ``is_over`` when it is called for the last of ``most`` times."""
    left = threading.Semaphore(most - 1)

    def count() -> None:
        if not left.acquire(blocking=False):
            is_over.set()

    return count


def _hand_on(layout: Layout, objects: Renewable) -> None:
    """Tell the bucket what is used here, if that is due. While it is away, a later try does."""
    now = time.time()
    try:
        told = hand_on(layout, objects, now) if is_due(layout, now) else 0
    except BucketAway as error:
        _log.debug("could not hand on what is used", error=error)
        return
    if told:
        _log.info("told the bucket what is used here", blobs=told)


def _await_end(is_over: threading.Event) -> None:
    """Wait until the worker that started us is gone, and give uploads a little time to end."""
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.readline():
            pass
    is_over.set()
    time.sleep(_GRACE_SECONDS)
    os._exit(0)


def _tell(operation: str, status: int | None, size: int) -> None:
    """Tell the worker of a request. It may have ended, which ends us soon."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps([operation, status, size]).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
