"""The bytes of a blob for one client: one interface, whether they lie on the disk, arrive, or are not kept at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from registry_cache.errors import RegistryError
from registry_cache.store.disk import ReadHandle


class Cut(Exception):
    """A body cannot be completed: close the connection short of its end (byte-safety rule 4)."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(slots=True)
class FilePart:
    """Bytes that a server may send from the descriptor: ``length`` of them in ``file`` from ``offset`` on.

    Where the disk gave it fewer, it says in ``sent`` how many, before it takes what follows.
    """

    file: ReadHandle
    offset: int
    length: int
    sent: int | None = None

    @property
    def stop(self) -> int:
        """Where the bytes end that were sent."""
        return self.offset + (self.length if self.sent is None else self.sent)

    def __len__(self) -> int:
        return self.length


class PulledBlob(Protocol):
    """A blob for one client. Close it."""

    @property
    def stored(self) -> bool:
        """Whether all of it lay on the disk, verified, when it was asked for."""

    @property
    def size(self) -> int | None:
        """Bytes of the whole that the client may be told; None where upstream does not say."""

    def parts(self, start: int, stop: int | None, *, from_file: bool) -> Iterator[bytes | FilePart]:
        """Yield what lies between ``start`` and ``stop``, None for the end, as it comes.

        With ``from_file`` where the bytes are, and themselves only where they are in no file. The last byte comes when
        all are verified. Raises Cut.
        """

    def wait_for_size(self) -> None:
        """Return when ``size`` is known for certain. Raises UpstreamError where it never will be, Cut."""

    def wait_until_stored(self) -> None:
        """Return when the disk has the blob. Raises StoreError where it does not keep it, the transfer's error, Cut."""

    def close(self) -> None:
        """Stop reading; a download goes on."""
