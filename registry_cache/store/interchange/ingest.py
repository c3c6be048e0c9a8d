"""Bytes from elsewhere into ``blobs/``: linked where the disk can, else copied; hashed before they get a name.

A linked blob is one inode with two names, so it costs no room and no time but the hashing. It is made read-only, gets
its size noted, and its time of use is now: whoever has the other name sees that. Both names hold as long as nobody
writes into the file, which the registry that it came from does not do and must not run to begin with. What had been
written before the import began is on the disk since one sync for all of it: waiting for each of a million files, one
by one, takes hours.

    blobs/sha256/ab/.<hex>-<pid>-<n>     a link or a copy that is being hashed; a crash leaves it to the cleanup
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.store import disk, last_use
from registry_cache.store.blobs import Blobs, seal
from registry_cache.store.interchange import linking
from registry_cache.store.layout import Layout
from registry_cache.store.partials import Claim, Partials
from registry_cache.store.size_ledger import SizeLedger

BLOCK = 1024 * 1024

# A cleanup holds a digest's lock for milliseconds, which is worth waiting for; a download for minutes, which is not.
PATIENCE = 5.0
_POLL = 0.05

# Seconds: a file system's clock may be a little behind ours.
MARGIN = 1.0

_counter = itertools.count()


class Arrival(Enum):
    """How a blob came here."""

    HERE = "already here"
    LINKED = "linked"
    COPIED = "copied"


class Rejected(Exception):
    """What the source has cannot be taken, and why in words. Nothing of it is left here."""


class Ingest:
    """Takes blobs into one store. ``tick`` is told how many bytes were read, again and again.

    It may run beside servers: what they are downloading is left to them.
    """

    def __init__(self, layout: Layout, *, may_link: bool, tick: Callable[[int], None] = lambda count: None) -> None:
        self._layout = layout
        self._blobs = Blobs(layout)
        self._partials = Partials(layout)
        self._ledger = SizeLedger(layout)
        self._may_link = may_link
        self._tick = tick
        self._durable_before: float | None = None

    def has(self, digest: Digest, size: int) -> bool:
        """Tell whether the blob is here whole, and let this be a use of it. Raises StoreError."""
        found = self._blobs.open_any(digest)
        if found is None or found.size != size:
            return False
        # A cleanup would take it from under the names that it is about to get.
        last_use.touch(found.file.fileno(), os.fstat(found.file.fileno()))
        return True

    def add_file(self, digest: Digest, path: str, size: int) -> Arrival:
        """Take the file ``path`` of ``size`` bytes. Raises Rejected, StoreError, StoreFull."""
        if self.has(digest, size):
            self._tick(size)
            return Arrival.HERE
        with _opened(path) as source, disk.store_errors(f"store {digest}"), self._beside(digest) as beside:
            durable = self._may_link and self._is_durable(source)
            if self._may_link and linking.link_open(path, source, beside):
                how, size = Arrival.LINKED, self._hash(source, digest)
                _still(source, size)
                seal(source, size, durable=durable)
            else:
                how, size, durable = Arrival.COPIED, self._copy(source, beside, digest), False
            return how if self._name(digest, beside, size, durable=durable) else Arrival.HERE

    def add_stream(self, digest: Digest, blocks: Iterable[bytes]) -> Arrival:
        """Take bytes that come once. Raises Rejected, StoreError, StoreFull, and whatever ``blocks`` does."""
        with disk.store_errors(f"store {digest}"), self._beside(digest) as beside:
            size = self._write(blocks, beside, digest)
            return Arrival.COPIED if self._name(digest, beside, size) else Arrival.HERE

    def sync_to_disk(self) -> None:
        """Wait until what was linked would survive a power cut: then the source may go."""
        if self._durable_before is not None:
            with disk.store_errors("write the names of what was linked to the disk"):
                linking.sync_disk(self._layout.blobs)

    def _is_durable(self, source: int) -> bool:
        """Tell whether the bytes of a file were written to the disk, as nobody has touched it since the one sync."""
        if self._durable_before is None:
            self._durable_before = time.time() - MARGIN
            linking.sync_disk(self._layout.blobs)
        # Not its mtime, which anybody may set.
        return os.fstat(source).st_ctime < self._durable_before

    @contextlib.contextmanager
    def _beside(self, digest: Digest) -> Iterator[str]:
        folder, name = os.path.split(self._layout.blob(digest))
        os.makedirs(folder, exist_ok=True)
        beside = f"{folder}/.{name}-{os.getpid()}-{next(_counter)}"
        try:
            yield beside
        finally:
            disk.remove(beside)

    def _name(self, digest: Digest, beside: str, size: int, *, durable: bool = False) -> bool:
        """Give verified, sealed bytes their name; False where somebody else has brought them meanwhile.

        Where they are ``durable``, it is no loss if a power cut takes the name: the source still has them.
        """
        with self._claimed(digest) as claim:
            if self.has(digest, size):
                return False
            target = self._layout.blob(digest)
            os.rename(beside, target)
            if not durable:
                disk.sync_folder(os.path.dirname(target))
            self._ledger.add(size)
            # What an interrupted download left is not needed any more.
            claim.discard()
            claim.remove_status()
        return True

    def _claimed(self, digest: Digest) -> Claim:
        deadline = time.monotonic() + PATIENCE
        while (claim := self._partials.claim(digest)) is None:
            if time.monotonic() > deadline:
                raise Rejected("it is being downloaded: import again when that has ended")
            time.sleep(_POLL)
        return claim

    def _copy(self, source: int, beside: str, digest: Digest) -> int:
        if not linking.clone(source, beside):
            return self._write(_blocks(source), beside, digest)
        with _opened(beside) as copy:
            size = self._hash(copy, digest)
            seal(copy, size)
            return size

    def _hash(self, source: int, digest: Digest) -> int:
        """Return how many bytes there are, all of them read; Rejected unless they are the digest's."""
        hasher, size = digest.hasher(), 0
        for block in _blocks(source):
            hasher.update(block)
            size += len(block)
            self._tick(len(block))
        if not digest.matches(hasher):
            raise Rejected(f"its bytes are those of {digest.algorithm}:{hasher.hexdigest()}")
        return size

    def _write(self, blocks: Iterable[bytes | memoryview], beside: str, digest: Digest) -> int:
        hasher, size = digest.hasher(), 0
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            for block in blocks:
                hasher.update(block)
                disk.write_all(descriptor, block)
                size += len(block)
                self._tick(len(block))
            if not digest.matches(hasher):
                raise Rejected(f"its bytes are those of {digest.algorithm}:{hasher.hexdigest()}")
            seal(descriptor, size)
        finally:
            os.close(descriptor)
        return size


def require_owner(layout: Layout) -> None:
    """Raise StoreError where what we make does not belong to the store's owner, who could not clean it up."""
    with disk.store_errors("find out whose files we make"):
        owner = os.stat(layout.root).st_uid
        # Asked of the file system: one over a network may call us somebody else.
        with tempfile.TemporaryFile(dir=layout.partials) as file:
            ours = os.fstat(file.fileno()).st_uid
    if ours != owner:
        raise StoreError(
            f"the store in {layout.root} belongs to user {owner}, and what is made now to user {ours}: "
            f"run this as user {owner}, and give that user the files to import (chown -R)"
        )


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a file of the source for reading. Raises Rejected."""
    with _source():
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe of that name must not stop us
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Rejected("it is no file")
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _source() -> Iterator[None]:
    """What the source's disk refuses is no trouble of the store's."""
    try:
        yield
    except OSError as error:
        raise Rejected(f"it cannot be read: {error.strerror}") from error


def _blocks(source: int) -> Iterator[memoryview]:
    """Yield the bytes of a file, each block in the room of the last one."""
    os.posix_fadvise(source, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer, at = memoryview(bytearray(BLOCK)), 0
    while True:
        with _source():
            count = os.preadv(source, [buffer], at)
        if not count:
            return
        at += count
        yield buffer[:count]


def _still(source: int, size: int) -> None:
    if os.fstat(source).st_size != size:
        raise Rejected("it changes while it is read: stop the registry that writes it")
