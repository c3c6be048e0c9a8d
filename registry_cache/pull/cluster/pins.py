"""Pins of all nodes: each has them all on its own disk, and cleans up by these, whoever is away.

Redis has a copy by which they learn of each other's changes. Who finds it to lack something that is known here writes
both together, so a Redis that was emptied is filled again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from registry_cache.cluster.notes import Notes
from registry_cache.errors import RegistryError, StoreError
from registry_cache.runtime.log import Log
from registry_cache.store.locks import LockFile, try_lock
from registry_cache.store.pin_list import UNPINNED_SECONDS, PinList, parse_pins
from registry_cache.store.pins import Pins

_NAME = "all"

_log = Log(__name__)


class NearPins:
    """The ``pins`` of one node, and the ``notes`` by which it exchanges them."""

    def __init__(self, notes: Notes, pins: Pins, clock: Callable[[], float] = time.time) -> None:
        self._notes = notes
        self._pins = pins
        self._clock = clock
        self._turn: LockFile | None = None

    def exchange_in_one_worker(self, lock: str) -> None:
        """Exchange, if no other worker of this node does: the first that finds ``lock`` free does, until it ends.

        Raises RedisAway.
        """
        try:
            self._turn = self._turn or try_lock(lock)
        except OSError as error:
            _log.debug("cannot tell whether another worker exchanges pins", error=error)
        else:
            if self._turn is None:
                return
        self.exchange()

    def exchange(self) -> None:
        """Take over what others have pinned and unpinned, and tell them what is known here. Raises RedisAway."""
        theirs = self._theirs()
        try:
            ours = self._pins.read()
            if not ours.knows(theirs):
                ours = self._pins.merge(theirs)
        except StoreError as error:
            # Cleanup says so, and evicts nothing; what cannot be read here must not be told to others.
            _log.debug("cannot exchange pins with other nodes", error=error)
            return
        ours = ours.without_old(self._clock())
        if not theirs.knows(ours):
            self._notes.put(_NAME, theirs.merged(ours).document(), UNPINNED_SECONDS)

    def _theirs(self) -> PinList:
        found = self._notes.get(_NAME)
        try:
            return parse_pins(found).without_old(self._clock()) if found else PinList()
        except (ValueError, KeyError, TypeError, RegistryError) as error:
            _log.debug("other nodes' pins were not understood", error=error)
            return PinList()
