"""The progress of one blob's transfer, as one process knows it, and how its readers follow it.

The transfer writes it, any number of readers wait on it. It is a view: the truth is on the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum

from registry_cache.errors import RegistryError, StoreError, UpstreamTimeout, forget_frames
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.policy.verification_wait import ArrivalFacts, seconds_to_wait
from registry_cache.pull.blob_body import Cut, FilePart
from registry_cache.pull.prefix_hash import PrefixHashes
from registry_cache.pull.reader_timeout import wait_for_change
from registry_cache.pull.transfer.abandoned import Abandoned
from registry_cache.pull.transfer.arrival_rate import ArrivalRate
from registry_cache.runtime.unwanted_reads import Reads
from registry_cache.store.disk import ReadHandle

# A blob of up to this size is shown whole after its commit. It comes in one piece anyway; if that was wrong, readers
# get what the second try brings, or an error with a status. Most image configurations are smaller.
SHOW_WHOLE_SIZE = 32 * 1024

# A blob of up to this size is committed before its last byte is shown: that is quick, and a client that asks again at
# once gets a hit. The commit of a larger one takes as long as the disk does, and nobody should wait for that.
COMMIT_FIRST_SIZE = 8 * 1024 * 1024


class _State(Enum):
    WAITING = "no answer from upstream yet"
    GROWING = "bytes arrive"
    COMMITTED = "verified and complete"
    FAILED = "ended with an error"


class TransferProgress:
    """The transfer of ``digest``. ``readers`` is kept by ``Transfers``, under its own lock.

    ``begun_for``: whom it was begun for, and when, to be weighed once nobody reads; ``is_given_up``: it is to end.
    ``led_here``: this process asked upstream, instead of reading what another one brings. ``is_near``: another node of
    the cluster was asked, and not upstream. ``verified``: all bytes are
    there and right, whether the disk keeps them or not. ``owner``: for whom upstream is asked, whose access an answer
    proves and whose an error is; None if unknown. ``size`` of the whole in bytes, None where nobody says.
    """

    def __init__(self, digest: Digest) -> None:
        self.digest = digest
        self.readers = 0
        self.led_here = False
        self.is_near = False
        self.begun_for: Abandoned | None = None
        self.is_given_up = False
        self.reads = Reads()
        self.hashes = PrefixHashes(digest)
        self._rate = ArrivalRate()
        self._changed = threading.Condition()
        self._state = _State.WAITING
        self._error: RegistryError | None = None
        self.file: ReadHandle | None = None
        self._available = 0
        # Bytes that have come, and are for nobody before they are proven.
        self.kept_back = 0
        self.verified = False
        self.size: int | None = None
        self.owner: FullName | None = None

    def give_up(self) -> None:
        """End it: nobody reads it. Upstream may be silent, so what waits for its bytes waits no longer."""
        self.is_given_up = True
        self.reads.end()

    # Readers.

    def wait_for_leader(self) -> None:
        """Return when it is known for whom upstream is asked, or when the transfer has ended. Raises Cut."""
        self._wait(lambda: self.owner is not None or self._state is not _State.WAITING)

    def wait_for_answer(self) -> None:
        """Return when upstream's answer is known to whoever leads; raise the error if it is one."""
        self._wait(lambda: self._state is not _State.WAITING)
        if self.error:
            raise self.error

    def wait_for_bytes(self) -> None:
        """Return when there is something to read, or the transfer has ended. Raises Cut."""
        self._wait(lambda: self._available > 0 or self.ended)

    def wait_for_end(self, seconds: float) -> None:
        """Return when the transfer has ended, or after so many ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended, seconds)

    def wait_for_verdict(self) -> None:
        """Return when the bytes are verified, or the transfer has ended without. Raises Cut."""
        self._wait(lambda: self.verified or self.ended)

    def wait_for_near_verdict(self) -> None:
        """Return when the bytes are verified or the transfer has ended; at once where that is too far away."""
        began = time.monotonic()
        while self.size is not None and not (self.verified or self.ended):
            arrival = ArrivalFacts(self.size - self._available, *self._rate.recent(self._available))
            seconds = seconds_to_wait(arrival, time.monotonic() - began)
            if not seconds:
                return
            with self._changed:
                self._changed.wait_for(lambda: self.verified or self.ended, seconds)

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
                self._available > offset or self.verified or self.ended or (file is not None and file is not self.file)
            )
        )
        with self._changed:
            now, available, error = self.file, self._available, self.error
        if now is None or (file is not None and now is not file):
            raise Cut(error or UpstreamTimeout(f"the bytes of {self.digest} were wrong; they are fetched again"))
        if error and available <= offset:
            raise Cut(error)
        return now, FilePart(now, offset, max(0, min(length, available - offset)))

    def _wait(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            try:
                while not ready():
                    wait_for_change(
                        self._changed,
                        lambda: (self._available, self.kept_back, self._state),
                        f"the transfer of {self.digest}",
                    )
            except UpstreamTimeout as error:
                raise Cut(error) from None

    # Both.

    @property
    def ended(self) -> bool:
        return self._state in (_State.COMMITTED, _State.FAILED)

    @property
    def available(self) -> int:
        """How many bytes may be read."""
        return self._available

    def recent(self) -> tuple[int, float]:
        """Return how many bytes came lately, and in how many seconds; 0, 0 before the first."""
        return self._rate.recent(self._available)

    @property
    def committed(self) -> bool:
        return self._state is _State.COMMITTED

    @property
    def error(self) -> RegistryError | None:
        """What the transfer ended with; None while it runs, and where it brought all bytes."""
        return None if self.verified else self._error

    # The transfer.

    def set_owner(self, owner: FullName) -> None:
        """Say that upstream is being asked for ``owner``."""
        with self._changed:
            if self._state is _State.WAITING:
                self.owner = owner
                self._changed.notify_all()

    def answer(self, owner: FullName, size: int | None, file: ReadHandle) -> None:
        """Say that upstream has answered; bytes of ``file`` may be read as they come."""
        with self._changed:
            if file is not self.file:
                # A new leader's file may hold less than the old one's did.
                self._available = 0
            self._rate.restart()
            self._state, self.owner, self.size, self.file = _State.GROWING, owner, size, file
            self._changed.notify_all()

    def advance(self, size: int) -> bool:
        """Say that there are ``size`` bytes now; return whether readers may have more than before."""
        self._rate.note(size)
        # All but the last: a complete response must be a verified one (byte-safety rule 4).
        shown = size - 1 if self.size is None or self.size > SHOW_WHOLE_SIZE else 0
        if shown <= self._available:
            return False
        with self._changed:
            self._available = shown
            self._changed.notify_all()
        return True

    def show_verified(self, size: int) -> bool:
        """Say that all ``size`` bytes are verified, and may be read before the commit; return whether that is new."""
        if self.verified:
            return False
        with self._changed:
            self.verified, self.size, self._available = True, size, size
            self._changed.notify_all()
        return True

    def reuse_handle(self, file: ReadHandle) -> ReadHandle:
        """Return the handle that readers have, if it is one of the same file as ``file``.

        Another file means that theirs was wrong and fetched again, and cuts them; another handle must not: whoever
        takes over from a dead leader opens the partial that they are reading.
        """
        return self.file if self.file and self.file.is_same_file(file) else file

    def cut_readers(self) -> None:
        """Cut those who have read bytes, for they were wrong; readers who have none yet go on waiting."""
        with self._changed:
            self.file, self._available = None, 0
            self._state = _State.WAITING
            self._changed.notify_all()

    def commit(self, file: ReadHandle, size: int) -> None:
        """Say that ``file`` is committed, with ``size`` bytes."""
        with self._changed:
            self._state, self.file, self.size, self._available = _State.COMMITTED, file, size, size
            self.verified = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close the file: the transfer has ended, and nobody reads any more."""
        self.file, self.hashes = None, PrefixHashes(self.digest)

    def fail(self, error: RegistryError, owner: FullName | None) -> None:
        """End the transfer with ``error``, which is ``owner``'s, and which forgets where it was raised."""
        forget_frames(error)
        with self._changed:
            self._state, self._error, self.owner = _State.FAILED, error, owner or self.owner
            self._changed.notify_all()
