"""Where gunicorn's workers keep their metrics: files in a folder of the master's, in memory.

Each worker has a slot: the lowest number that no other living worker has. The next worker in a dead worker's slot goes
on with its files: no count is lost, and there are never more files than workers lived at once.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prometheus_client import multiprocess

from registry_cache.runtime.log import Log
from registry_cache.server.gunicorn_internals import Master, count_in_slot, metrics_file

_log = Log(__name__)

# By this prometheus_client finds the folder, in the worker that writes and in the one that is scraped.
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "registry-cache-metrics-"
# The kinds of files that our metrics make, and bytes for all their labels. Where one grows beyond, prometheus_client
# takes memory without asking for it, and a memory file system that has none left then kills the worker.
_SIZES = {"counter": 1 << 16, "histogram": 1 << 19, "gauge_livesum": 1 << 12}


class MetricsSlots:
    """The folder of one master, in ``parent``: None for the system's own for temporary files."""

    def __init__(self, parent: str | None) -> None:
        """Make the folder, and remove those of masters that were killed. Raises OSError."""
        self._lock = -1
        while self._lock < 0:
            self.folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
            # Inherited by the workers: the folder is in use until the last of them has ended.
            self._lock = _lock_folder(self.folder)
        _remove_abandoned(Path(self.folder).parent)

    def take(self, taken: Iterable[int]) -> int:
        """Return the slot of the next worker, which is none of those ``taken``. Raises OSError."""
        slot = 0
        busy = set(taken)
        while slot in busy:
            slot += 1
        self.forget(slot)
        for kind, size in _SIZES.items():
            self._make(metrics_file(kind, slot), size)
        return slot

    def forget(self, slot: int) -> None:
        """Forget the gauges of a dead worker; its counts stay."""
        multiprocess.mark_process_dead(slot, self.folder)  # type: ignore[no-untyped-call]

    def join(self, slot: int) -> None:
        """Let this process, a worker that has imported no metric yet, count in ``slot``."""
        os.environ[VARIABLE] = self.folder
        count_in_slot(slot)

    def remove(self) -> None:
        """Remove the folder: the last worker has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, name: str, size: int) -> None:
        """Make a file of zeros if there is none: a scrape must not find one that is still empty."""
        path, beside = os.path.join(self.folder, name), os.path.join(self.folder, ".new")
        if not os.path.exists(path):
            with open(beside, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
            os.rename(beside, path)


# Of this master, and of the workers that inherit it: none where there is no room for them.
_slots: list[MetricsSlots] = []


def start(parent: str | None) -> None:
    """Called once, before anything listens; ``parent`` is a folder in memory."""
    try:
        _slots[:] = [MetricsSlots(parent)]
    except OSError as error:
        _warn(error)


def before_fork(master: Master, worker: Any) -> None:
    """Called before a worker is forked."""
    worker.slot = None
    for slots in _slots:
        try:
            worker.slot = slots.take(other.slot for other in master.workers.values())
        except OSError as error:
            _warn(error)


def after_fork(worker: Any) -> None:
    """Called in a new worker, before it loads the application."""
    for slots in _slots:
        if worker.slot is not None:
            slots.join(worker.slot)


def worker_ended(worker: Any) -> None:
    """Called when a worker has ended."""
    for slots in _slots:
        if worker.slot is not None:
            slots.forget(worker.slot)


def stop() -> None:
    """Called when the last worker has ended."""
    for slots in _slots:
        slots.remove()


def _warn(error: OSError) -> None:
    _log.warning("no room for shared metrics: each worker tells its own", error=error.strerror)


def _lock_folder(folder: str) -> int:
    """Return a descriptor that holds ``folder``; -1 where somebody holds it or has removed it. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between its making and the lock another master may have swept it up.
        if os.fstat(descriptor).st_nlink and os.path.exists(folder):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return -1


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders in ``parent`` that nobody holds, as far as they are ours."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            descriptor = _lock_folder(str(folder)) if folder.stat().st_uid == os.geteuid() else -1
        except OSError:
            continue
        if descriptor >= 0:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
