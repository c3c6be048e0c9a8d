"""Find repositories by any part of their names, in a text that has each on a line of its own. Pure.

Whoever types a name's end wants that image: ``nginx`` finds library/nginx before library/nginx-exporter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Matches that are looked at: a letter or two match everything, and nobody reads a thousand.
MOST_MATCHES = 1000


@dataclass(frozen=True, slots=True)
class Matches:
    """``names`` that match, the likeliest first. ``complete``: there are no more of them."""

    names: list[str]
    complete: bool


def search(names: bytes, text: str, most: int = MOST_MATCHES) -> Matches:
    """Return the names that hold ``text``; ``names`` begins and ends with a line break, as does each of them."""
    word = text.strip().lower().encode()
    if b"\n" in word:
        return Matches([], complete=True)
    found: dict[bytes, None] = {}
    for needle in (b"/" + word + b"\n", b"/" + word, word):
        for name in _lines_with(names, needle):
            if len(found) == most and name not in found:
                return Matches([each.decode() for each in found], complete=False)
            found[name] = None
    return Matches([each.decode() for each in found], complete=True)


def _lines_with(names: bytes, needle: bytes) -> Iterator[bytes]:
    position = names.find(needle)
    while position >= 0:
        begin = names.rfind(b"\n", 0, position + 1) + 1
        end = names.find(b"\n", max(begin, position))
        if end > begin:
            yield names[begin:end]
        position = names.find(needle, max(end, position + 1))
