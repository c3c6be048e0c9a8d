"""Run a cleanup in a process of its own, at a lower priority; the server does so when the store is over its bounds.

``python -m registry_cache.upkeep.cleanup_process JSON``. Everything it needs is on its command line: the configuration
file may have changed since the server was started, and ``gunicorn wsgi:app`` may have got its values from anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import Bounds
from registry_cache.runtime import log
from registry_cache.store import inventory
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.size_keeper import SpaceNeeded

# Long enough for some millions of blobs on a slow disk; what is left then is for the next cleanup.
CLEANUP_SECONDS = 1800.0
# A process that needs even longer hangs in the kernel, and we stop waiting for it.
_GRACE_SECONDS = 60.0

# When run by -m this module is called __main__, which has no log.
_log = log.Log("registry_cache.upkeep.cleanup_process")


@dataclass(frozen=True, slots=True)
class CleanupProcess:
    """How to start one cleanup in a process of its own, which holds the store under ``root`` to ``bounds``."""

    root: Path
    bounds: Bounds
    log_level: str
    log_formatter: str

    def run(self, needed: SpaceNeeded) -> tuple[int, int, int | None]:
        """Run one cleanup that also makes the space ``needed``, and wait for it.

        Return how many blobs and bytes it evicted, and how many bytes must stay: None where it did not count them.
        Raises OSError where the process cannot be started.
        """
        arguments = {
            "root": str(self.root),
            "ttl": self.bounds.ttl.total_seconds() if self.bounds.ttl is not None else None,
            "max_size": self.bounds.max_size,
            "min_free": self.bounds.min_free,
            "reserved": dict(self.bounds.reserved),
            "free": needed.free,
            "less": needed.less,
            "blob": str(needed.blob) if needed.blob else None,
            "level": self.log_level,
            "formatter": self.log_formatter,
        }
        # In a session of its own, so that Ctrl-C at the server's terminal does not reach it.
        process = subprocess.Popen(  # noqa: S603 (this interpreter, and no shell)
            [sys.executable, "-P", "-m", "registry_cache.upkeep.cleanup_process", json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # A command that logs nothing has a progress bar there.
            stderr=None if log.is_set_up() else subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=CLEANUP_SECONDS + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _log.error("a cleanup hangs", pid=process.pid)
            return 0, 0, None
        # It prints nothing when another cleanup is running, or when it fails, which it logs itself.
        blobs, size, staying = json.loads(output or "[0, 0, null]")
        return blobs, size, staying


def main(given: str) -> int:
    """Run the cleanup described by the JSON ``given``; returns the exit status."""
    # Only nice, unlike priority.step_back: downloads wait for this cleanup, and with a smaller share of the processors
    # for its session it would take minutes beside busy workers.
    os.nice(5)
    settings = json.loads(given)
    log.setup(settings["level"], settings["formatter"])
    ttl = None if settings["ttl"] is None else timedelta(seconds=settings["ttl"])
    bounds = Bounds(ttl, settings["max_size"], settings["min_free"], reserved=settings["reserved"])
    try:
        blob = Digest.parse(settings["blob"]) if settings["blob"] else None
        _clean(Layout(Path(settings["root"])), bounds, SpaceNeeded(settings["free"], settings["less"], blob))
    except StoreError as error:
        _log.error("a cleanup failed", error=error)
        return 1
    return 0


def _clean(layout: Layout, bounds: Bounds, needed: SpaceNeeded) -> None:
    if needed.free:
        free = needed.free - (inventory.size_of(layout, needed.blob) if needed.blob else 0)
        bounds = replace(bounds, min_free=max(bounds.min_free or 0, free))
    stored = SizeLedger(layout).total()
    if needed.less and stored:
        # A cleanup that finds the store over its size goes down to the low mark, so name the size with that low mark.
        size = int(max(0, stored - needed.less) / policy.LOW_MARK)
        bounds = replace(bounds, max_size=size if bounds.max_size is None else min(size, bounds.max_size))
    began = time.monotonic()
    result = Cleanup(layout, bounds, time.time(), lambda: time.monotonic() < began + CLEANUP_SECONDS).run()
    if result is None:
        return
    # The server reads this; it may have ended meanwhile, which does not concern the cleanup.
    with contextlib.suppress(BrokenPipeError):
        # What is reserved may be pinned as well. Of a sum that counts it twice the store would grow beyond its size.
        staying = max(result.pinned, result.reserved)
        os.write(sys.stdout.fileno(), json.dumps([result.evicted, result.evicted_bytes, staying]).encode())
    tell = _log.info if result.evicted else _log.debug
    tell(
        "made room",
        blobs=result.evicted,
        bytes=result.evicted_bytes,
        stored=result.stored - result.evicted_bytes,
        seconds=time.monotonic() - began,
    )
    if result.over:
        _log.warning(
            "could not make enough room",
            bytes=result.over,
            in_use=result.in_use,
            pinned=result.pinned,
            reserved=result.reserved,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
