"""The pieces of a blob as its download uses them: whatever the disk refuses of them, it goes on without."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registry_cache.errors import StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy.range_choice import SMALL_BLOB
from registry_cache.pull.source import BlobSource
from registry_cache.runtime.log import Log
from registry_cache.store.piece_file import PieceFile
from registry_cache.store.piece_files import Pieces

_log = Log(__name__)


@dataclass(eq=False, slots=True)
class PieceReuse:
    """A download's ``source``, and the pieces that its upstream has given.

    ``yield_to_readers`` is called before each request beside pieces; it may wait. ``clock`` is time.monotonic, but in
    tests.
    """

    digest: Digest
    source: BlobSource
    pieces: Pieces
    yield_to_readers: Callable[[], None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    _took_pieces: bool = field(default=False, init=False)
    _is_broken: bool = field(default=False, init=False)

    @property
    def claims_spans(self) -> bool:
        """Whether to make a file for pieces where there is none: readers may overtake the download, and it can."""
        return self.source.can_be_overtaken and not self._is_broken

    def find(self) -> PieceFile | None:
        """Return the pieces, if there are any by now, and the disk has given those that were asked for."""
        if self._is_broken:
            return None
        try:
            return self.pieces.open(self.source.owner.upstream, self.digest)
        except StoreError as error:
            _log.debug("could not open pieces", digest=self.digest, error=error)
            return None

    def make(self, size: int | None) -> PieceFile | None:
        """Return a file for pieces of a blob of ``size`` bytes; None where that is not worth one, or refused."""
        if not self.claims_spans or size is None or size <= SMALL_BLOB:
            return None
        try:
            return self.pieces.make(self.source.owner.upstream, self.digest, size)
        except StoreError as error:
            # Then nothing can be claimed, and a reader of ranges has some bytes sent twice.
            _log.debug("could not make room for pieces", digest=self.digest, error=error)
            return None

    def is_ours(self, file: PieceFile) -> bool:
        """Tell whether upstream has given pieces for our repository, which may then read all."""
        return file.owner == str(self.source.owner.repository)

    def read(self, file: PieceFile, start: int, stop: int) -> bytes:
        """Return what is here from ``start`` on; b"" for nothing."""
        try:
            data = file.read(start, stop)
        except OSError as error:
            _log.debug("could not read pieces", digest=self.digest, error=error)
            self._is_broken = True
            return b""
        self._took_pieces = self._took_pieces or bool(data)
        return data

    def answered(self, file: PieceFile, size: int | None) -> bool:
        """Note that upstream has given our repository bytes of a blob of ``size``.

        False where the pieces are of another size: then they are gone, and no others are made.
        """
        if size != file.size and (size is not None or not file.owner):
            self._is_broken = True
            self.discard()
            return False
        if not file.owner and self.source.inside_error() is None:
            try:
                file.set_owner(str(self.source.owner.repository))
            except OSError as error:
                _log.debug("could not name the owner of pieces", digest=self.digest, error=error)
        return True

    def give_up(self, error: OSError) -> None:
        """Do without pieces from here: the disk fails, or cannot lock a part of a file."""
        _log.info("downloading without pieces", digest=self.digest, error=error)
        self._is_broken = True

    def discard_empty(self, file: PieceFile) -> None:
        """Remove what was made for a blob that upstream then did not give."""
        try:
            self.pieces.discard_empty(self.source.owner.upstream, self.digest, file)
        except StoreError as error:
            _log.debug("could not discard pieces", digest=self.digest, error=error)

    def discard(self) -> bool:
        """Remove the pieces: the whole is wrong. Return whether it was made of any since this was asked last."""
        took, self._took_pieces = self._took_pieces, False
        try:
            self.pieces.discard(self.source.owner.upstream, self.digest)
        except StoreError as error:
            _log.warning("could not discard pieces", digest=self.digest, error=error)
        return took

    def discard_all(self) -> None:
        """Remove all pieces: the blob is whole. What stays is removed by the next cleanup."""
        try:
            self.pieces.discard_all(self.digest)
        except StoreError as error:
            _log.debug("could not discard pieces", digest=self.digest, error=error)
