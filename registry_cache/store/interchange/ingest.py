"""Bring bytes from elsewhere into ``blobs/``: linked where the disk allows it, otherwise copied; hashed before they get
a name.

A linked blob is one inode with two names, so it costs no room and no time but the hashing. It is made read-only, its
size is recorded and its last use set to now, under both names. Both stay right as long as nobody writes into the file:
the registry that it came from does not, and must not run during the import anyway. One sync puts everything on the disk
that was written before the import began: syncing each of a million files takes hours. The link or copy that is being
hashed has a name that begins with a dot; after a crash cleanup removes it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.store import atomic_write, disk, locks, modes
from registry_cache.store.blobs import Blobs, seal
from registry_cache.store.interchange import linking
from registry_cache.store.layout import Layout
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.size_ledger import SizeLedger

BLOCK = 1024 * 1024

# A cleanup holds a digest's lock for milliseconds, which is worth waiting for; a download for minutes, which is not.
LOCK_TIMEOUT_SECONDS = 5.0

# Seconds by which a file system's clock may be behind ours.
CLOCK_MARGIN = 1.0


class Arrival(Enum):
    """How a blob came into the store."""

    HERE = "already here"
    LINKED = "linked"
    COPIED = "copied"


class Rejected(Exception):
    """The source's bytes cannot be taken; the message says why. Nothing of them stays here."""


class Ingest:
    """Takes blobs into one store. ``tick`` is called after each read with its number of bytes.

    ``check_room`` is called before each write with the size that a copy then has, and may raise Rejected or StoreFull.
    It may run beside servers: what they are downloading it leaves to them.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        may_link: bool,
        tick: Callable[[int], None] = lambda count: None,
        check_room: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._layout = layout
        self._blobs = Blobs(layout)
        self._partials = Partials(layout)
        self._ledger = SizeLedger(layout)
        self._may_link = may_link
        self._tick = tick
        self._check_room = check_room
        self._durable_before: float | None = None

    def has(self, digest: Digest, size: int) -> bool:
        """Tell whether the blob is here whole, and count this as a use of it. Raises StoreError."""
        found = self._blobs.open_any(digest)
        if found is None or found.size != size:
            return False
        # Otherwise a cleanup could evict it before it gets its new names.
        disk.touch(found.file.fileno(), os.fstat(found.file.fileno()))
        return True

    def add_file(self, digest: Digest, path: str, size: int) -> Arrival:
        """Take the file ``path`` of ``size`` bytes. Raises Rejected, StoreError, StoreFull."""
        if self.has(digest, size):
            self._tick(size)
            return Arrival.HERE
        with _open_file(path) as source, disk.store_errors(f"store {digest}"), self._beside(digest) as beside:
            durable = self._may_link and self._is_durable(source)
            if self._may_link and linking.link_open(path, source, beside):
                how, size = Arrival.LINKED, self._hash(source, digest)
                _check_unchanged(source, size)
                seal(source, size)
                if not durable:
                    os.fsync(source)
            else:
                how, size, durable = Arrival.COPIED, self._copy(source, beside, digest), False
            return how if self._name(digest, beside, size, durable=durable) else Arrival.HERE

    def add_stream(self, digest: Digest, blocks: Iterable[bytes]) -> Arrival:
        """Take bytes that can be read only once. Raises Rejected, StoreError, StoreFull, and what ``blocks`` raises."""
        with disk.store_errors(f"store {digest}"), self._beside(digest) as beside:
            size = self._write(blocks, beside, digest)
            return Arrival.COPIED if self._name(digest, beside, size) else Arrival.HERE

    def sync_to_disk(self) -> None:
        """Wait until what was linked would survive a power cut: then the source may be deleted."""
        if self._durable_before is not None:
            with disk.store_errors("write the names of what was linked to the disk"):
                linking.sync_disk(self._layout.blobs)

    def sync_names(self) -> None:
        """Wait until the names that the blobs were given would survive a power cut."""
        with disk.store_errors("write names to the disk"):
            linking.sync_disk(self._layout.repositories)

    def _is_durable(self, source: int) -> bool:
        """Tell whether the bytes of a file are on the disk, because nobody has changed it since the one sync."""
        if self._durable_before is None:
            self._durable_before = time.time() - CLOCK_MARGIN
            linking.sync_disk(self._layout.blobs)
        # Not its mtime, which anybody can set.
        return os.fstat(source).st_ctime < self._durable_before

    @contextlib.contextmanager
    def _beside(self, digest: Digest) -> Iterator[str]:
        blob = self._layout.blob(digest)
        modes.make_folders(os.path.dirname(blob))
        beside = atomic_write.beside(blob)
        try:
            yield beside
        finally:
            disk.remove(beside)

    def _name(self, digest: Digest, beside: str, size: int, *, durable: bool = False) -> bool:
        """Give verified, sealed bytes their name; False where somebody else has brought them meanwhile.

        If they are ``durable``, a power cut may take the name: the source still has the bytes.
        """
        claim = locks.wait_for(lambda: self._partials.claim(digest), LOCK_TIMEOUT_SECONDS)
        if claim is None:
            raise Rejected("it is being downloaded: import again when that has ended")
        with claim:
            if self.has(digest, size):
                return False
            target = self._layout.blob(digest)
            os.rename(beside, target)
            if not durable:
                atomic_write.sync_folder(os.path.dirname(target))
            self._ledger.add(size)
            # An interrupted download is not needed any more.
            claim.discard()
            claim.remove_status()
        return True

    def _copy(self, source: int, beside: str, digest: Digest) -> int:
        if not linking.clone(source, beside):
            return self._write(_blocks(source), beside, digest)
        with _open_file(beside) as copy:
            size = self._hash(copy, digest)
            seal(copy, size)
            os.fsync(copy)
            return size

    def _hash(self, source: int, digest: Digest) -> int:
        """Read all of the bytes and return how many there are; Rejected unless they match the digest."""
        return self._take(_blocks(source), digest, lambda block: None)

    def _write(self, blocks: Iterable[bytes | memoryview], beside: str, digest: Digest) -> int:
        descriptor = modes.create(beside, os.O_WRONLY | os.O_EXCL)
        written = 0

        def write(block: bytes | memoryview) -> None:
            nonlocal written
            written += len(block)
            self._check_room(written)
            atomic_write.write_all(descriptor, block)

        try:
            size = self._take(blocks, digest, write)
            seal(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return size

    def _take(
        self, blocks: Iterable[bytes | memoryview], digest: Digest, use: Callable[[bytes | memoryview], None]
    ) -> int:
        hasher, size = digest.hasher(), 0
        for block in blocks:
            hasher.update(block)
            use(block)
            size += len(block)
            self._tick(len(block))
        if not digest.matches(hasher):
            raise Rejected(f"its bytes are those of {digest.algorithm}:{hasher.hexdigest()}")
        return size


def require_owner(layout: Layout) -> None:
    """Raise StoreError if the files we make would not belong to the store's owner, who could not clean them up."""
    with disk.store_errors("find out whose files we make"):
        owner = os.stat(layout.root).st_uid
        # By making a file: a network file system may map us to another user.
        with tempfile.TemporaryFile(dir=layout.partials) as file:
            ours = os.fstat(file.fileno()).st_uid
    if ours != owner:
        raise StoreError(
            f"the store in {layout.root} belongs to user {owner}, and what is made now to user {ours}: "
            f"run this as user {owner}, and give that user the files to import (chown -R)"
        )


@contextlib.contextmanager
def _open_file(path: str) -> Iterator[int]:
    """Open a file of the source for reading. Raises Rejected."""
    with _source_errors():
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name must not stop us
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Rejected("it is not a file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _source_errors() -> Iterator[None]:
    """Turn errors of the source's disk into Rejected: they are not the store's."""
    try:
        yield
    except OSError as error:
        raise Rejected(f"it cannot be read: {error.strerror}") from error


def _blocks(source: int) -> Iterator[memoryview]:
    """Yield the bytes of a file, each block in the buffer of the one before."""
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer, at = memoryview(bytearray(BLOCK)), 0
    while True:
        with _source_errors():
            count = os.preadv(source, [buffer], at)
        if not count:
            return
        at += count
        yield buffer[:count]


def _check_unchanged(source: int, size: int) -> None:
    if os.fstat(source).st_size != size:
        raise Rejected("it changes while it is read: stop the registry that writes it")
