"""Write stored blobs as a tar that is an OCI image layout.

The same content gives the same bytes: fixed order, no times, no owners. Each blob is hashed while it is written, so a
complete archive is a right one.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.oci import image_layout
from registry_cache.oci.digest import Digest
from registry_cache.store import atomic_write, disk
from registry_cache.store.blobs import Blobs, OpenBlob

_READ_BLOCK = 1024 * 1024
# tar(5): files fill blocks, and an archive fills records, of which at least two empty blocks are the end.
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE

# ``progress(done, total)`` in bytes of blobs.
Progress = Callable[[int, int], None]


class ArchiveWriter:
    """Writes one archive into an open ``descriptor``, which is the caller's; ``place`` names it in errors.

    Its disk is the operator's: its errors are not logged as the store's.
    """

    def __init__(self, descriptor: int, place: str) -> None:
        self._descriptor = descriptor
        self._place = place
        self._size = 0

    def write(self, blobs: Blobs, index: bytes, sizes: Mapping[Digest, int], progress: Progress) -> int:
        """Write the layout of ``index`` with the blobs named by ``sizes``, and return the archive's size in bytes.

        Raises StoreError where a blob is not here or not itself, or the archive cannot be written.
        """
        done, total = 0, sum(sizes.values())
        self._add(image_layout.LAYOUT_NAME, image_layout.LAYOUT)
        self._add(image_layout.INDEX_NAME, index)
        for digest in sorted(sizes, key=str):
            with disk.store_errors(f"read {digest}"):
                blob = blobs.open_any(digest)
                if blob is None:
                    raise StoreError(f"{digest} was evicted while the archive was written: export again")
                for length in self._copy(digest, blob):
                    done += length
                    progress(done, total)
        self._put(bytes(2 * _BLOCK))
        self._put(bytes(-self._size % _RECORD))
        return self._size

    def _add(self, name: str, data: bytes) -> None:
        self._put(_header(name, len(data)) + data + bytes(-len(data) % _BLOCK))

    def _copy(self, digest: Digest, blob: OpenBlob) -> Iterator[int]:
        """Write one blob; yield how many bytes were, again and again."""
        hasher, at = digest.hasher(), 0
        self._put(_header(image_layout.blob_name(digest), blob.size))
        while chunk := blob.file.read_at(at, min(_READ_BLOCK, blob.size - at)):
            hasher.update(chunk)
            self._put(chunk)
            at += len(chunk)
            yield len(chunk)
        if at != blob.size or not digest.matches(hasher):
            raise StoreError(f"{digest} is damaged in the store: registry-cache verify --repair takes it out")
        self._put(bytes(-blob.size % _BLOCK))

    def _put(self, data: bytes) -> None:
        with _archive_errors(self._place):
            atomic_write.write_all(self._descriptor, data)
        self._size += len(data)


@contextlib.contextmanager
def write_file_whole(path: Path) -> Iterator[int]:
    """Open a file beside ``path`` for writing; at the end it gets that name, or is removed if something failed.

    Raises StoreError, also if ``path`` is something other than a file.
    """
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file: name one, or - for standard output")
    with (
        _archive_errors(str(path)),
        atomic_write.replacing(str(path), synced=True, make_folders=False, private=False) as descriptor,
    ):
        yield descriptor


@contextlib.contextmanager
def _archive_errors(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"could not write {place}: {error.strerror or error}") from error


def _header(name: str, size: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry.tobuf(tarfile.PAX_FORMAT)
