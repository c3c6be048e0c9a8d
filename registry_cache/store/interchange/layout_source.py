"""Read the blobs of an OCI image layout (image-spec, image-layout.md): a folder, or a tar that is read once.

Both give their blobs in the order they have them, and ``index`` as soon as it is known: at once for a folder, for an
archive when it has come by. Names in a tar are only compared to those of a layout: a file without the name of a blob is
skipped, and no name from the tar is ever used to write.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from registry_cache.errors import DigestInvalid, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.oci.image_layout import INDEX_NAME, LAYOUT_NAME
from registry_cache.store import disk
from registry_cache.store.disk import entries
from registry_cache.store.interchange.ingest import Arrival, Ingest
from registry_cache.store.interchange.tar_stream import BrokenArchive, ByteSource, Member, TarStream

# ``problem(what, words)``: something that cannot be taken.
Problem = Callable[[str, str], None]

_BLOB = re.compile(r"blobs/([a-z0-9]+)/([0-9a-f]+)", re.ASCII)
_GZIP = b"\x1f\x8b"
# Compressions that an operator may have used, and that we do not read.
_PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2"}
_LONGEST_MAGIC = 6


class LayoutBlob(Protocol):
    """One blob of a layout, of ``size`` bytes by what the layout says."""

    digest: Digest
    size: int

    def ingest(self, ingest: Ingest) -> Arrival:
        """Take it. Raises Rejected, StoreError, StoreFull, BrokenArchive."""


class ImageLayout(Protocol):
    """A layout. ``index`` is its index.json, None if it is not known, or not yet.

    ``position`` returns how many of its bytes were read; None if the ingest counts them.
    """

    index: bytes | None
    place: str
    position: Callable[[], int] | None

    def total(self) -> int:
        """Return the number of bytes to read; 0 if unknown."""

    def blobs(self) -> Iterator[LayoutBlob]:
        """Yield the blobs, once. Raises StoreError, BrokenArchive."""


class _File:
    def __init__(self, digest: Digest, path: str, size: int) -> None:
        self.digest, self._path, self.size = digest, path, size

    def ingest(self, ingest: Ingest) -> Arrival:
        return ingest.add_file(self.digest, self._path, self.size)


class LayoutFolder:
    """A layout in a folder."""

    def __init__(self, path: Path) -> None:
        """Read its index. Raises StoreError."""
        self.place = str(path)
        self.position: Callable[[], int] | None = None
        with reading_source(self.place):
            self.index = disk.read_source(f"{path}/{INDEX_NAME}")

    @classmethod
    def is_at(cls, path: Path) -> bool:
        """Tell whether there is one in ``path``."""
        return any(os.path.isfile(path / name) for name in (LAYOUT_NAME, INDEX_NAME))

    def total(self) -> int:
        return sum(item.size for item in self.blobs())

    def blobs(self) -> Iterator[_File]:
        with reading_source(self.place):
            for algorithm in entries(f"{self.place}/blobs"):
                for entry in entries(algorithm.path):
                    with contextlib.suppress(DigestInvalid, FileNotFoundError):
                        digest = Digest.parse(f"{algorithm.name}:{entry.name}")
                        yield _File(digest, entry.path, entry.stat().st_size)


class _Streamed:
    def __init__(self, digest: Digest, size: int, tar: TarStream) -> None:
        self.digest, self.size, self._tar = digest, size, tar

    def ingest(self, ingest: Ingest) -> Arrival:
        if ingest.has(self.digest, self.size):
            return Arrival.HERE
        return ingest.add_stream(self.digest, self._tar.blocks())


class LayoutArchive:
    """A layout in a tar, plain or by gzip, read from an open ``file`` that is the caller's. Its size may be unknown.

    By gzip it may have ``limit`` bytes when it is unpacked; None for any number.
    """

    def __init__(self, file: BinaryIO, place: str, problem: Problem, limit: int | None) -> None:
        self.place = place
        self.index: bytes | None = None
        self._file = file
        self._problem = problem
        self._limit = limit
        self._read = 0
        self.position: Callable[[], int] | None = lambda: self._read

    def total(self) -> int:
        found = os.fstat(self._file.fileno())
        return found.st_size if stat.S_ISREG(found.st_mode) else 0

    def blobs(self) -> Iterator[_Streamed]:
        unpacked = self._unpacked()
        tar = TarStream(_Unpacking(unpacked, self._limit))
        for member in tar.members():
            name = re.sub(r"^(\./)+", "", member.name)
            if name == INDEX_NAME:
                self._keep_index(member, tar)
            elif match := _BLOB.fullmatch(name):
                try:
                    digest = Digest.parse(f"{match[1]}:{match[2]}")
                except DigestInvalid:
                    continue
                if member.regular:
                    yield _Streamed(digest, member.size, tar)
                else:
                    self._problem(str(digest), "it is a link, a folder or a device in the archive")

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes of the file as it is. Raises StoreError."""
        with reading_source(self.place):
            data = self._file.read(size)
        self._read += len(data)
        return data

    def _keep_index(self, member: Member, tar: TarStream) -> None:
        if not member.regular or member.size > disk.MAX_RECORD_SIZE:
            raise BrokenArchive(f"its {member.name} is not a file, or too large")
        if self.index is not None:
            raise BrokenArchive("it holds two files called index.json: nobody can tell which one is meant")
        self.index = b"".join(tar.blocks())

    def _unpacked(self) -> ByteSource:
        begin = _Unread(self.read(_LONGEST_MAGIC), self.read)
        for magic, tool in _PACKED.items():
            if begin.first.startswith(magic):
                raise BrokenArchive(f"it is compressed with {tool}: decompress it first; only gzip is read here")
        if begin.first.startswith(_GZIP):
            return gzip.GzipFile(fileobj=begin, mode="rb")  # type: ignore[call-overload,no-any-return]
        self._limit = None
        return begin


class _Unread:
    """A stream whose ``first`` bytes have been read already."""

    def __init__(self, first: bytes, read: Callable[[int], bytes]) -> None:
        self.first = first
        self._ahead = first
        self._read = read

    def read(self, size: int = -1, /) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._read(size)


class _Unpacking:
    """Turns gzip's errors into BrokenArchive, and bounds what comes of it by ``limit`` bytes."""

    def __init__(self, source: ByteSource, limit: int | None) -> None:
        self._source = source
        self._left = limit

    def read(self, size: int, /) -> bytes:
        try:
            data = self._source.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BrokenArchive(f"its gzip is damaged: {error}") from error
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise BrokenArchive("it unpacks to more than the store may hold (storage.max_size, or the disk)")
        return data


@contextlib.contextmanager
def reading_source(place: str) -> Iterator[None]:
    """Turn errors of a source's disk into StoreError; they are not logged as the store's."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"could not read {place}: {error.strerror or error}", detail=error.filename) from error
