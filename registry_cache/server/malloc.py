"""How the C library gives memory back.

By default it does so with each large chunk of a body, and takes it again for the next one, zeroed: a tenth of what a
fast download costs (docs/adr/0014).
"""

from __future__ import annotations

import contextlib
import ctypes

# mallopt(3). From these on memory is given back: some chunks of a body may stay, a manifest's 4 MiB need not.
_TRIM_THRESHOLD, _KEPT_BYTES = -1, 16 * 1024 * 1024
_MMAP_THRESHOLD, _MAPPED_BYTES = -3, 4 * 1024 * 1024


def keep_chunks() -> None:
    """Let this process keep what it frees of up to 16 MiB; without effect where the C library knows no mallopt."""
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _MAPPED_BYTES)
