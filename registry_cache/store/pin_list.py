"""Pins, and what was unpinned recently, as one document that several nodes change and merge. Pure: opens no file.

For each image the latest change counts, and of two at the same moment the pin. What was unpinned is remembered for
UNPINNED_SECONDS, or a node that was away meanwhile would pin it again: one that was away for longer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from registry_cache.oci.pattern import ImagePattern

_VERSION = 1

UNPINNED_SECONDS = 90 * 24 * 3600.0
# A change follows what it changes, whatever the clocks of the nodes say.
_TICK = 0.001

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin of ``image`` at ``upstream``; ``pinned_at`` in seconds since the epoch."""

    upstream: str
    image: ImagePattern
    pinned_at: float = 0.0

    @property
    def key(self) -> _Key:
        return self.upstream, str(self.image)


@dataclass(frozen=True, slots=True)
class PinList:
    """``pins``, oldest first; ``unpinned``: what was one, ``pinned_at`` when it was taken back."""

    pins: Sequence[Pin] = ()
    unpinned: Sequence[Pin] = ()

    def with_pins(self, pins: Sequence[Pin]) -> tuple[PinList, list[Pin]]:
        """Return the list with ``pins``, and those that are new."""
        known, gone, new = {pin.key for pin in self.pins}, {pin.key: pin for pin in self.unpinned}, list[Pin]()
        for pin in pins:
            if pin.key not in known:
                known.add(pin.key)
                after = gone[pin.key].pinned_at + _TICK if pin.key in gone else pin.pinned_at
                new.append(replace(pin, pinned_at=max(pin.pinned_at, after)))
        left = [pin for pin in self.unpinned if pin.key not in known]
        return PinList([*self.pins, *new], left), new

    def without_pins(self, keys: set[_Key], now: float) -> tuple[PinList, list[Pin]]:
        """Return the list without the pins of these ``keys``, and those that existed."""
        gone = [pin for pin in self.pins if pin.key in keys]
        taken_back = [replace(pin, pinned_at=max(now, pin.pinned_at + _TICK)) for pin in gone]
        left = [pin for pin in self.pins if pin.key not in keys]
        return PinList(left, [*self.unpinned, *taken_back]).without_old(now), gone

    def merged(self, other: PinList) -> PinList:
        """Return what both know."""
        words = self._words()
        for key, word in other._words().items():
            if key not in words or word[:2] > words[key][:2]:
                words[key] = word
        pins = sorted((pin for _, is_pinned, pin in words.values() if is_pinned), key=lambda pin: pin.pinned_at)
        return PinList(pins, [pin for _, is_pinned, pin in words.values() if not is_pinned])

    def knows(self, other: PinList) -> bool:
        """Return whether ``other`` says nothing that is new here."""
        words = self._words()
        return all(key in words and words[key][:2] >= word[:2] for key, word in other._words().items())

    def without_old(self, now: float) -> PinList:
        """Return the list without what was unpinned too long ago."""
        return PinList(self.pins, [pin for pin in self.unpinned if now - pin.pinned_at < UNPINNED_SECONDS])

    def document(self) -> dict[str, object]:
        """Return what ``parse_pins`` reads, for JSON."""
        return {"version": _VERSION, "pins": _records(self.pins), "unpinned": _records(self.unpinned)}

    def _words(self) -> dict[_Key, tuple[float, bool, Pin]]:
        """Return for each image when it was changed last, and whether it is pinned."""
        words = {pin.key: (pin.pinned_at, False, pin) for pin in self.unpinned}
        return words | {pin.key: (pin.pinned_at, True, pin) for pin in self.pins}


def parse_pins(document: Mapping[str, Any]) -> PinList:
    """Return the list in a ``document``. Raises ValueError, KeyError, TypeError, RegistryError for anything else."""
    return PinList(
        [_parse(record) for record in document["pins"]], [_parse(record) for record in document.get("unpinned", [])]
    )


def _records(pins: Sequence[Pin]) -> list[dict[str, object]]:
    return [{"upstream": pin.upstream, "image": str(pin.image), "pinned_at": pin.pinned_at} for pin in pins]


def _parse(record: Mapping[str, object]) -> Pin:
    upstream = str(record["upstream"])
    if "/" in upstream or upstream.startswith("."):
        # It becomes a part of a path.
        raise ValueError(upstream)
    return Pin(upstream, ImagePattern.parse(str(record["image"])), float(str(record["pinned_at"])))
