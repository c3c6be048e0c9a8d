"""Which node a blob belongs to, where all must find the same one without asking each other: rendezvous hashing.

Pure. Blobs are spread evenly, and when a node comes or goes only its own blobs move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def rank(hex: str, nodes: Iterable[str]) -> list[str]:
    """Return ``nodes`` in the order in which they are to bring the blob with this digest for all."""
    return sorted(nodes, key=lambda node: hashlib.sha256(f"{node} {hex}".encode()).digest(), reverse=True)
