"""What an upstream must show before a repository of it is given bytes that another one brought here. Pure.

Its word (a HEAD) is good for what it brought itself: it may say what its repositories contain. Of another upstream's
content it must show that it has the bytes, since it could say yes to any digest that somebody has told it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

# So many bytes at a random place: enough that nobody guesses them, and few beside any blob that is worth sharing.
PROOF_SIZE = 4096


class Proof(Enum):
    """WORD: it says yes. BYTES: it sends some of them."""

    WORD = auto()
    BYTES = auto()


def needed_proof(brought_by: str, asked: str) -> Proof:
    """Return what the upstream ``asked`` must show for bytes that were ``brought_by`` another; "" where unknown."""
    return Proof.WORD if brought_by and brought_by == asked else Proof.BYTES


def proof_range(size: int, pick: Callable[[int], int]) -> tuple[int, int]:
    """Return from where up to where the bytes of a blob of ``size`` are compared; ``pick(n)`` is any number below n."""
    if size <= PROOF_SIZE:
        return 0, size
    start = pick(size - PROOF_SIZE + 1)
    return start, start + PROOF_SIZE
