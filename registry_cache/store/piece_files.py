"""The pieces of all blobs that were asked for by ranges, apart for each upstream: none gets what another brought.

They are a partial's neighbours: unverified, and gone as soon as the blob is whole, or its bytes turn out to be wrong.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

from registry_cache.errors import DigestInvalid, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.store import atomic_write, disk, modes
from registry_cache.store.disk import entries
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.piece_file import HEADER, PieceFile, data_offset, header, parse_header, piece_count
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.store.unkept_pieces import ForgivingPieceFile, UnkeptPieces


class Pieces:
    """The pieces of one store, and in memory those that it refuses."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._unkept = UnkeptPieces()
        self._making = threading.Lock()
        self._ledger = SizeLedger(layout)

    def open(self, upstream: str, digest: Digest) -> PieceFile | None:
        """Return the pieces that ``upstream`` gave of a blob; None where there are none. Raises StoreError."""
        path = self._layout.pieces_of(upstream, digest)
        with disk.store_errors(f"open the pieces of {digest}"):
            found = self._open(path)
        if found is None:
            memory = self._unkept.find(path)
            # The disk is asked again after a while, or it would never keep a blob that is always being read.
            return memory if memory and memory.is_fresh() else None
        return found

    def make(self, upstream: str, digest: Digest, size: int) -> PieceFile:
        """Return the pieces of a blob of ``size`` bytes, made where there were none: in memory where the disk refuses.

        Pieces that are here may be of another size. Raises StoreError.
        """
        path = self._layout.pieces_of(upstream, digest)
        # One at a time: where one found the last room on the disk and another none, they would hold pieces apart, and
        # have the same ones sent to each.
        with self._making:
            try:
                return self.open(upstream, digest) or self._make(path, size)
            except StoreError as refusal:
                with disk.store_errors(f"hold pieces of {digest}"):
                    # Another process may have made one with the last room that there was.
                    return self._open(path) or self._unkept.make(path, size, refusal)

    def _make(self, path: str, size: int) -> PieceFile:
        with disk.store_errors(f"make room for pieces in {path}"):
            _make(path, size)
            found = self._open(path)
            if found is None:
                # What cannot be read, as after a power cut, is in the way. It is removed only now: another process may
                # have made a good file since the first look.
                disk.remove(path)
                _make(path, size)
                found = self._open(path)
            if found is None:
                raise FileNotFoundError(None, "removed as soon as it was made", path)
            return found

    def _open(self, path: str) -> PieceFile | None:
        return _open(path, make=partial(ForgivingPieceFile, self._unkept))

    def discard(self, upstream: str, digest: Digest) -> None:
        """Remove the pieces that ``upstream`` gave of a blob; readers keep what they have. Raises StoreError."""
        path = self._layout.pieces_of(upstream, digest)
        self._unkept.forget(path)
        with disk.store_errors(f"discard the pieces of {digest}"):
            disk.remove(path)

    def discard_empty(self, upstream: str, digest: Digest, file: PieceFile) -> None:
        """Remove ``file`` where nobody has brought pieces, or is about to. Raises StoreError."""
        with disk.store_errors(f"look for pieces of {digest}"):
            is_empty = file.gap_until(0, file.size) == file.size and not file.is_claimed()
        if is_empty:
            self.discard(upstream, digest)

    def discard_all(self, digest: Digest) -> None:
        """Remove a blob's pieces, whoever gave them, and count them no more. Raises StoreError."""
        freed = 0
        self._unkept.forget(f"/{digest.algorithm}/{digest.hex}")
        with disk.store_errors(f"discard the pieces of {digest}"):
            for path in paths(self._layout, digest):
                found = disk.stat(path)
                freed += found.st_blocks * disk.BLOCK if found and disk.remove(path) else 0
        if freed:
            self._ledger.add(-freed)


def paths(layout: Layout, digest: Digest) -> list[str]:
    """Return where pieces of a blob are, or were a moment ago. Raises OSError."""
    folders = [entry.path for entry in entries(layout.pieces) if entry.is_dir(follow_symlinks=False)]
    found = [f"{folder}/{digest.algorithm}/{digest.hex}" for folder in folders]
    return [path for path in found if os.path.lexists(path)]


def stored_pieces(layout: Layout) -> Iterator[tuple[Digest, str]]:
    """Yield the digest and the path of every file of pieces. Raises OSError."""
    for upstream in entries(layout.pieces):
        for algorithm in ALGORITHMS:
            for entry in entries(f"{upstream.path}/{algorithm}"):
                # The name of one that is being made is no digest.
                with contextlib.suppress(DigestInvalid):
                    yield Digest.parse(f"{algorithm}:{entry.name}"), entry.path


def evict_if_free(path: str, should_evict: Callable[[int], bool]) -> bool:
    """Unlink a file of pieces, unless somebody fetches some or it was used since; True where it is gone.

    ``should_evict`` is told when it was last used. Raises OSError.
    """
    found = disk.stat(path)
    if found is None:
        return True
    file = _open(path)
    if file and file.is_claimed():
        return False
    return should_evict(disk.last_use(found)) and disk.remove(path)


def can_be_read(path: str) -> bool | None:
    """Return True where a file of pieces can be read, None where it cannot. Raises OSError."""
    return True if _open(path, os.O_RDONLY) else None


def _open(path: str, flags: int = os.O_RDWR, make: Callable[..., PieceFile] = PieceFile) -> PieceFile | None:
    try:
        descriptor = disk.open_file(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        known = parse_header(os.pread(descriptor, HEADER, 0))
        size = known[0] if known else 0
        if known and os.fstat(descriptor).st_size == data_offset(piece_count(size)) + size:
            return make(path, descriptor, *known)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _make(path: str, size: int) -> None:
    """Give an empty file of pieces its name; whoever else does so at the same moment wins as well."""
    modes.make_folders(os.path.dirname(path))
    name = atomic_write.beside(path)
    descriptor = modes.create(name, os.O_RDWR | os.O_EXCL)
    try:
        os.pwrite(descriptor, header(size, "", time.time()), 0)
        os.ftruncate(descriptor, data_offset(piece_count(size)) + size)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.close(descriptor)
        disk.remove(name)
