"""A large manifest for one client, sent from its file: a client that reads nothing then holds no memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from registry_cache.errors import StoreError
from registry_cache.pull.blob_body import Cut, FilePart
from registry_cache.pull.reader_slots import LARGEST_CHUNK
from registry_cache.store.blobs import OpenBlob


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """The bytes of ``content``, which were compared to their digest when it was opened."""

    content: OpenBlob

    def parts(self, *, from_file: bool) -> Iterator[bytes | FilePart]:
        """Yield the bytes, or with ``from_file`` where they are. Raises Cut."""
        at, size = 0, self.content.size
        if from_file:
            part = FilePart(self.content.file, 0, size)
            yield part
            at = part.stop
        while at < size:
            data = self._read(at)
            at += len(data)
            yield data
            # A client that reads as fast as the disk gives would hold up all others of a gevent worker.
            time.sleep(0)

    def _read(self, at: int) -> bytes:
        try:
            data = self.content.file.read_at(at, min(LARGEST_CHUNK, self.content.size - at))
        except OSError:
            data = b""
        if not data:
            raise Cut(StoreError("the disk does not give all of a manifest"))
        return data

    def close(self) -> None:
        """Do nothing: the file closes with its last reader."""
