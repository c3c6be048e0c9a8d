"""Poll for changes that nobody notifies us of: files and processes."""

import time
from collections.abc import Callable

SECONDS = 40.0
POLL_SECONDS = 0.005


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition()` is true; AssertionError if that takes too long."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {SECONDS} s"
        time.sleep(POLL_SECONDS)
