"""How long a reader waits for bytes that do not come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from registry_cache.errors import UpstreamTimeout
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS
from registry_cache.runtime import request_context

# After so long a reader looks whether its client is still there: one that has left would keep the download, and all
# that this has open, for as long as a silent upstream may take. A client that has only closed its own side, and reads
# on, is taken for one that left, as nginx takes it.
LOOK_SECONDS = 5.0


def wait_for_change(changed: threading.Condition, at: Callable[[], object], what: str) -> None:
    """Return when ``changed``, which is held, is notified, or what ``at`` returns is another.

    Raises UpstreamTimeout where ``what`` has not moved for long, or not for a moment and nobody waits any more.
    """
    before, until = at(), time.monotonic() + STALL_TIMEOUT_SECONDS
    while not changed.wait(LOOK_SECONDS):
        if at() != before:
            return
        if request_context.client_has_left():
            raise UpstreamTimeout(f"{what} does not move, and the client has left")
        if time.monotonic() >= until:
            raise UpstreamTimeout(f"{what} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s")
