"""The progress of one blob's transfer, as one process knows it, and how its readers follow it.

The transfer writes it, any number of readers wait on it. It is a view: the truth is on the disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from registry_cache.errors import RegistryError, StoreError, UpstreamTimeout
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut, FilePart
from registry_cache.pull.prefix_hash import PrefixHashes
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS
from registry_cache.pull.target import Owner
from registry_cache.store.disk import ReadHandle

# A blob of up to so many bytes is shown after its commit, whole: it comes in one piece anyway, and where that piece was
# wrong its readers then get what the second try brings, or an error with a status. Most configs are smaller.
SHOWN_WHOLE = 32 * 1024

# A blob of up to so many bytes is kept before its last byte is shown: it takes a moment, and who asks for it again at
# once has a hit. The commit of a larger one takes as long as the disk does, and nobody has to wait for that.
KEPT_FIRST = 8 * 1024 * 1024


class _State(Enum):
    WAITING = "no answer from upstream yet"
    GROWING = "bytes arrive"
    COMMITTED = "verified and complete"
    FAILED = "ended with an error"


class TransferProgress:
    """The transfer of ``digest``. ``readers`` is kept by ``Transfers``, under its own lock.

    ``led_here`` tells that this process asked upstream, and did not only read along with another that did.
    """

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self.readers = 0
        self.led_here = False
        self.hashes = PrefixHashes(digest)
        self._changed = threading.Condition()
        self._state = _State.WAITING
        self._error: RegistryError | None = None
        self._file: ReadHandle | None = None
        self._available = 0
        self._verified = False
        self._size: int | None = None
        self._owner: Owner | None = None

    # Readers.

    def wait_for_leader(self) -> None:
        """Return when it is known for whom upstream is asked, or when the transfer has ended. Raises Cut."""
        self._wait(lambda: self._owner is not None or self._state is not _State.WAITING)

    def wait_for_answer(self) -> None:
        """Return when upstream's answer is known to whoever leads; raise the error if it is one."""
        self._wait(lambda: self._state is not _State.WAITING)
        if self.error:
            raise self.error

    def wait_for_bytes(self) -> None:
        """Return when there is something to read, or the transfer has ended. Raises Cut."""
        self._wait(lambda: self._available > 0 or self.ended)

    def wait_for_verdict(self) -> None:
        """Return when the bytes are verified, or the transfer has ended without. Raises Cut."""
        self._wait(lambda: self.verified or self.ended)

    def read(self, file: ReadHandle | None, offset: int, length: int) -> tuple[ReadHandle, bytes]:
        """Return bytes from ``offset``, one at least, or b"" at the verified end; and the file that they are from.

        ``file`` is what the last call returned: bytes of two files never end up in one body. The last byte comes when
        all are verified. Raises Cut.
        """
        now, part = self.part(file, offset, length)
        try:
            return now, now.read_at(offset, part.length) if part else b""
        except OSError as failure:
            raise Cut(StoreError(f"could not read {self.digest}: {failure.strerror}")) from failure

    def part(self, file: ReadHandle | None, offset: int, length: int) -> tuple[ReadHandle, FilePart]:
        """Return, like ``read``, where these bytes are. Raises Cut."""
        self._wait(
            lambda: (
                self._available > offset or self.verified or self.ended or (file is not None and file is not self._file)
            )
        )
        with self._changed:
            now, available, error = self._file, self._available, self.error
        if now is None or (file is not None and now is not file):
            raise Cut(error or UpstreamTimeout(f"the bytes of {self.digest} were wrong; they are fetched again"))
        if error and available <= offset:
            raise Cut(error)
        return now, FilePart(now, offset, max(0, min(length, available - offset)))

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            while not ready():
                before = (self._available, self._state)
                if not self._changed.wait(STALL_TIMEOUT_SECONDS) and before == (self._available, self._state):
                    raise Cut(
                        UpstreamTimeout(
                            f"the transfer of {self.digest} has not moved for {STALL_TIMEOUT_SECONDS:.0f} s"
                        )
                    )

    # Both.

    @property
    def ended(self) -> bool:
        return self._state in (_State.COMMITTED, _State.FAILED)

    @property
    def committed(self) -> bool:
        return self._state is _State.COMMITTED

    @property
    def verified(self) -> bool:
        """All bytes are there, and right, whether the disk keeps them or not."""
        return self._verified

    @property
    def owner(self) -> Owner | None:
        """Upstream and repository that are asked, whose access an answer proves and an error is; None if unknown."""
        return self._owner

    @property
    def error(self) -> RegistryError | None:
        """What the transfer ended with; None while it has not, and where it brought all its readers want."""
        return None if self._verified else self._error

    @property
    def size(self) -> int | None:
        """Bytes of the whole; None where nobody says."""
        return self._size

    @property
    def file(self) -> ReadHandle | None:
        return self._file

    # The transfer.

    def led_by(self, owner: Owner) -> None:
        """Upstream is being asked for ``owner``."""
        with self._changed:
            if self._state is _State.WAITING:
                self._owner = owner
                self._changed.notify_all()

    def answer(self, owner: Owner, size: int | None, file: ReadHandle) -> None:
        """Upstream has answered; bytes of ``file`` may be read as they come."""
        with self._changed:
            if file is not self._file:
                # A new leader's file may hold less than the old one's did.
                self._available = 0
            self._state, self._owner, self._size, self._file = _State.GROWING, owner, size, file
            self._changed.notify_all()

    def advance(self, size: int) -> bool:
        """There are ``size`` bytes now; return whether readers may have more than before."""
        # All but the last: a complete response must be a verified one (byte-safety rule 4).
        shown = size - 1 if self._size is None or self._size > SHOWN_WHOLE else 0
        if shown <= self._available:
            return False
        with self._changed:
            self._available = shown
            self._changed.notify_all()
        return True

    def verify(self, size: int) -> bool:
        """The bytes are verified, all ``size`` of them, and may be read before the disk has them; return if new."""
        if self._verified:
            return False
        with self._changed:
            self._verified, self._size, self._available = True, size, size
            self._changed.notify_all()
        return True

    def restart(self) -> None:
        """What was read so far was wrong: its readers are cut, those who have read nothing yet wait on."""
        with self._changed:
            self._file, self._available = None, 0
            self._state = _State.WAITING
            self._changed.notify_all()

    def commit(self, file: ReadHandle, size: int) -> None:
        """The bytes of ``file`` are verified, all ``size`` of them."""
        with self._changed:
            self._state, self._file, self._size, self._available = _State.COMMITTED, file, size, size
            self._verified = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of the file: the transfer has ended, and nobody reads any more."""
        self._file, self.hashes = None, PrefixHashes(self.digest)

    def fail(self, error: RegistryError, owner: Owner | None) -> None:
        """The transfer has ended in ``error``, which is ``owner``'s."""
        with self._changed:
            self._state, self._error, self._owner = _State.FAILED, error, owner or self._owner
            self._changed.notify_all()
