"""What readers of a partial have been sent when the disk fails: hashed, so that what follows can prove the whole."""

from __future__ import annotations

import threading

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.pull.resume import Place
from registry_cache.runtime import threadpool
from registry_cache.store.disk import ReadHandle

_BLOCK = 1024 * 1024


class Hashed:
    """Places in the file of one transfer; each is hashed once, for all the readers that got as far."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._mutex = threading.Lock()
        self._file: ReadHandle | None = None
        self._places: list[Place] = []

    def place(self, file: ReadHandle, at: int) -> Place:
        """Return the place behind the first ``at`` bytes of ``file``. Raises StoreError."""
        with self._mutex:
            if file is not self._file:
                self._file, self._places = file, [Place(self._digest.hasher())]
            found = max((place for place in self._places if place.at <= at), key=lambda place: place.at)
            if found.at < at:
                found = found.copy()
                threadpool.run(_go_on, found, file, at)
                self._places.append(found)
            return found.copy()


def _go_on(place: Place, file: ReadHandle, at: int) -> None:
    while place.at < at:
        try:
            block = file.read_at(place.at, min(_BLOCK, at - place.at))
        except OSError as error:
            raise StoreError(f"could not read again what was sent: {error.strerror}") from error
        if not block:
            raise StoreError("what was sent is not there any more")
        place.add(block)
