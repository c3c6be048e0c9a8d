"""Parse a JSON object that a stranger sent, but for one that holds so many things that all others would wait for it.

Python parses in one go, and nothing else runs meanwhile. What that costs in time and memory depends less on the bytes
than on what they hold: four megabytes of empty lists are a million objects, and a third of a second.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

# What may be anything: parsed within a few milliseconds.
SMALL_SIZE = 128 * 1024
# Lists and objects, each 60 to 230 bytes of memory. The fullest manifests have one for each of forty thousand layers.
MAX_CONTAINERS = 100_000
# Colons, so keys: different ones cost half a microsecond each. A digest has a colon, too.
MAX_KEYS = 200_000
# Commas, so values. The longest lists have half a million tags.
MAX_VALUES = 600_000
# Numbers with a point or an exponent, of which each costs a third of a microsecond to read, and half of one to write
# again. No document of a registry has any.
MAX_FLOATS = 10_000


def parse_object(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in ``data``; None for anything else, and for one that holds too much."""
    if len(data) > SMALL_SIZE and _holds_too_much(data):
        return None
    try:
        document = json.loads(data, parse_float=_few_floats()) if len(data) > SMALL_SIZE else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _few_floats() -> Callable[[str], float]:
    """Return what reads a float, MAX_FLOATS times; then it raises ValueError."""
    numbers = itertools.count()

    def read(text: str) -> float:
        if next(numbers) >= MAX_FLOATS:
            raise ValueError(f"more than {MAX_FLOATS} floats")
        return float(text)

    return read


def _holds_too_much(data: bytes) -> bool:
    # Those within strings are counted as well: that is cheaper than to look.
    containers = data.count(b"{") + data.count(b"[")
    return containers > MAX_CONTAINERS or data.count(b":") > MAX_KEYS or data.count(b",") > MAX_VALUES
