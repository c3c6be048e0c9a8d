"""Digests: ``algorithm:hex`` (image-spec, descriptor.md "Digests"; protocol fact P50)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from registry_cache.errors import DigestInvalid

_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


class Hasher(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Hasher: ...


@dataclass(frozen=True, slots=True)
class Digest:
    """The name of some bytes. Only ``parse`` and ``of`` make one, so both parts are safe in a path."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Return the digest written in ``text``; DigestInvalid for anything but sha256 or sha512 in lower case."""
        algorithm, colon, digits = text.partition(":")
        if not colon or _HEX_LENGTHS.get(algorithm) != len(digits) or not _HEX.fullmatch(digits):
            shown = text if len(text) <= 80 else text[:77] + "…"
            raise DigestInvalid(
                f"{shown!r} is not a digest: want sha256:<64 hex digits> or sha512:<128 hex digits>, lower case"
            )
        return cls(algorithm, digits)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """Return the digest of ``data``."""
        return cls(algorithm, hashlib.new(algorithm, data).hexdigest())

    def hasher(self) -> Hasher:
        """Return a new hasher of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, hasher: Hasher) -> bool:
        """Tell whether what ``hasher`` was fed is what this digest names."""
        return hasher.hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
