"""What is going on, cheap to read: nothing here walks through the store, so a page may ask every second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from registry_cache.errors import StoreError
from registry_cache.store import inventory
from registry_cache.store.inventory import DiskSpace
from registry_cache.store.inventory import Unfinished as Transfer
from registry_cache.store.layout import Layout
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.status import KnownUpstream, UpstreamStatus, upstream_status

__all__ = ["Glance", "Transfer", "Watcher"]


@dataclass(frozen=True, slots=True)
class Glance:
    """The state at ``now``, in seconds since the epoch. Times are written in the reader's ``zone``.

    ``stored`` in bytes, None where nobody has counted yet; ``space`` None where the disk does not tell. ``store`` in a
    word: ``ok``, ``full`` (served, not kept), ``failing``.
    """

    now: float
    zone: tzinfo | None
    upstreams: Sequence[UpstreamStatus]
    transfers: Sequence[Transfer]
    stored: int | None
    space: DiskSpace | None
    store: str


class Watcher:
    """Looks at the store under ``layout``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._ledger = SizeLedger(layout)

    def look(self, upstreams: Iterable[KnownUpstream], store: str, now: float, zone: tzinfo | None) -> Glance:
        """Return what can be seen; what a failing disk does not tell is missing."""
        found = [upstream_status(each, now) for each in upstreams]
        return Glance(now, zone, found, self._transfers(), self._ledger.total(), self._space(), store)

    def _transfers(self) -> Sequence[Transfer]:
        try:
            return inventory.unfinished(self._layout)
        except StoreError:
            return ()

    def _space(self) -> DiskSpace | None:
        try:
            return inventory.disk_space(self._layout.root)
        except StoreError:
            return None
