"""The server's own pass: a cleanup in a process of its own, at a lower priority.

``python -m registry_cache.upkeep.cleanup_process JSON``. All it needs is on its command line: a configuration's file
may say something else by now than what the server was started with, and ``gunicorn wsgi:app`` may have got it from
anywhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy import eviction as policy
from registry_cache.policy.eviction import Bounds
from registry_cache.runtime import log
from registry_cache.store import inventory
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import Ledger
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.size_keeper import Wanted

# A pass over some millions of blobs on a slow disk; a later one goes on.
PASS_SECONDS = 1800.0
# Beyond that it hangs in the kernel, and nobody waits for it any more.
_GRACE_SECONDS = 60.0

# Run by -m, this module is called __main__, whose lines nobody sees.
_log = log.Log("registry_cache.upkeep.cleanup_process")

if TYPE_CHECKING:
    # It would be half of what a pass takes to start.
    from registry_cache.config import Config


def evict(config: Config, bounds: Bounds, wanted: Wanted) -> tuple[int, int, int | None]:
    """Run one pass to ``bounds``, and to what is ``wanted`` besides.

    Return how many blobs and bytes went, and how many bytes are pinned, None where nobody counted. Raises OSError.
    """
    given = {
        "root": str(config.root),
        "ttl": bounds.ttl.total_seconds() if bounds.ttl is not None else None,
        "max_size": bounds.max_size,
        "min_free": bounds.min_free,
        "free": wanted.free,
        "less": wanted.less,
        "blob": str(wanted.blob) if wanted.blob else None,
        "level": config.log.level,
        "formatter": config.log.formatter,
    }
    # A session of its own: Ctrl-C at the server's terminal is not for it.
    process = subprocess.Popen(  # noqa: S603 (this interpreter, and no shell)
        [sys.executable, "-P", "-m", "registry_cache.upkeep.cleanup_process", json.dumps(given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=PASS_SECONDS + _GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        _log.error("a cleanup hangs", pid=process.pid)
        return 0, 0, None
    # Nothing where another pass was under way, or where it failed, of which it has told itself.
    blobs, size, pinned = json.loads(told or "[0, 0, null]")
    return blobs, size, pinned


def main(given: str) -> int:
    """Run the pass that ``evict`` asked for; returns the exit status."""
    # Its session keeps its share: beside busy workers a pass would take minutes, for which downloads wait.
    os.nice(5)
    settings = json.loads(given)
    log.setup(settings["level"], settings["formatter"])
    ttl = None if settings["ttl"] is None else timedelta(seconds=settings["ttl"])
    bounds = Bounds(ttl, settings["max_size"], settings["min_free"])
    try:
        blob = Digest.parse(settings["blob"]) if settings["blob"] else None
        _pass(Layout(Path(settings["root"])), bounds, Wanted(settings["free"], settings["less"], blob))
    except StoreError as error:
        _log.error("a cleanup failed", error=error)
        return 1
    return 0


def _pass(layout: Layout, bounds: Bounds, wanted: Wanted) -> None:
    if wanted.free:
        free = wanted.free - (inventory.size_of(layout, wanted.blob) if wanted.blob else 0)
        bounds = replace(bounds, min_free=max(bounds.min_free or 0, free))
    stored = Ledger(layout).total()
    if wanted.less and stored:
        # What is over a size goes down to the low mark of it.
        size = int(max(0, stored - wanted.less) / policy.LOW_MARK)
        bounds = replace(bounds, max_size=size if bounds.max_size is None else min(size, bounds.max_size))
    began = time.monotonic()
    result = Cleanup(layout, bounds, time.time(), lambda: time.monotonic() < began + PASS_SECONDS).run()
    if result is None:
        return
    # To the server, which may have ended meanwhile; the pass is good without it.
    with contextlib.suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), json.dumps([result.evicted, result.evicted_bytes, result.pinned]).encode())
    _log.info(
        "made room",
        blobs=result.evicted,
        bytes=result.evicted_bytes,
        stored=result.stored - result.evicted_bytes,
        seconds=time.monotonic() - began,
    )
    if result.over:
        _log.warning("could not make enough room", bytes=result.over, in_use=result.in_use, pinned=result.pinned)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
