"""What ``registry-cache pins`` reports: every pin, and how many images it holds now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry_cache.store import disk
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pin, Pins
from registry_cache.upkeep.report import Report, iso


@dataclass(frozen=True, slots=True)
class PinsReport(Report):
    """``counts``: each pin, and how many images it holds."""

    counts: Sequence[tuple[Pin, int]]

    def lines(self) -> Iterator[str]:
        width = max((len(_name(pin)) for pin, _ in self.counts), default=0)
        for pin, count in self.counts:
            yield f"{_name(pin):{width}}  since {iso(pin.pinned_at)}  {count} here"
        if not self.counts:
            yield "nothing is pinned"

    def document(self) -> dict[str, object]:
        """docs/disk.md explains each value."""
        pins = [{"pin": _name(pin), "pinned_at": iso(pin.pinned_at), "images": count} for pin, count in self.counts]
        return {"pins": pins}


def read_pins(root: Path) -> PinsReport:
    """Return what is pinned in the store under ``root``. Raises StoreError."""
    layout = Layout.find(root)
    if layout is None:
        return PinsReport([])
    pins = Pins(layout)
    with disk.store_errors("look for what is pinned"):
        return PinsReport([(pin, len(list(pins.pinned_by(pin)))) for pin in pins.all()])


def _name(pin: Pin) -> str:
    return f"{pin.upstream}/{pin.image}"
