"""Read a tar once, from its first byte to its last, in bounded memory and without unpacking it.

Plain tar, POSIX pax and GNU's long names, as tar(5) describes them. ``tarfile`` would read a header that claims
gigabytes into memory and follow links; here names are only names, and only regular files have bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1024 * 1024

# The extended headers of an entry hold a path and some times; larger ones are an attack.
MAX_HEADER = 1024 * 1024
# Nothing else of them is used.
_USED_KEYS = ("path", "size")
_SPARSE = "GNU.sparse."

# Digits; more are more than any file has.
_LONGEST_NUMBER = 18

_REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
# By the standard these have no bytes, whatever their size says.
_WITHOUT_BYTES = {
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
    *(tarfile.DIRTYPE, tarfile.FIFOTYPE),
}


class BrokenArchive(Exception):
    """This is not a tar, or not a complete one."""


class ByteSource(Protocol):
    """Where the bytes come from: an open file, or something that unpacks one."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: ``size`` in bytes; ``regular`` unless it is a folder, a link, a device."""

    name: str
    size: int
    regular: bool


class TarStream:
    """The entries of one tar. Raises BrokenArchive, and what its source raises."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._left = 0
        self._padding = 0
        self._header_size = 0

    def members(self) -> Iterator[Member]:
        """Yield each entry. Read its bytes before asking for the next entry, which skips them."""
        extended: dict[str, str] = {}
        self._header_size = 0
        while (header := self._header()) is not None:
            self._left = 0 if header.type in _WITHOUT_BYTES else header.size
            self._padding = -self._left % BLOCK
            if header.type == tarfile.XHDTYPE:
                extended |= _pax_fields(self._read_header())
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = self._read_header().rstrip(b"\0").decode("utf-8", "replace")
            elif header.type not in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
                yield self._member(header, extended)
                extended, self._header_size = {}, 0
            self._skip()

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes of the entry that was yielded last."""
        while self._left:
            yield self._read(min(CHUNK, self._left))

    def _member(self, header: tarfile.TarInfo, extended: dict[str, str]) -> Member:
        if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(_SPARSE) for key in extended):
            raise BrokenArchive("it holds a sparse file: create it without --sparse")
        if "size" in extended and header.type not in _WITHOUT_BYTES:
            self._left = _number(extended["size"])
            self._padding = -self._left % BLOCK
        return Member(extended.get("path", header.name), self._left, header.type in _REGULAR)

    def _header(self) -> tarfile.TarInfo | None:
        """Return the next header; None at the end."""
        data = self._read_exactly(BLOCK)
        if not data.strip(b"\0"):
            return None
        try:
            header = tarfile.TarInfo.frombuf(data, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as error:
            raise BrokenArchive("it is not a tar, or it is damaged") from error
        if header.size < 0:
            raise BrokenArchive("it holds an entry of negative size")
        return header

    def _read_header(self) -> bytes:
        # Of all before one entry: a few bytes of gzip hold any number of them.
        self._header_size += self._left
        if self._header_size > MAX_HEADER:
            raise BrokenArchive(f"it holds headers of {self._header_size} bytes for one entry")
        return b"".join(self.blocks())

    def _skip(self) -> None:
        for _ in self.blocks():
            pass
        if self._padding:
            self._read_exactly(self._padding)
            self._padding = 0

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        if not data:
            raise BrokenArchive("it ends too early")
        self._left -= len(data)
        return data

    def _read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._source.read(size - len(data))
            if not part:
                raise BrokenArchive("it ends too early")
            data += part
        return data


def _pax_fields(data: bytes) -> dict[str, str]:
    """Return what an extended header says: "length key=value" lines, whose length counts all of the line."""
    found, data, at = {}, data.rstrip(b"\0"), 0
    while at < len(data):
        # By position: to cut off each of a hundred thousand short lines would copy the rest as often.
        digits = data[at : data.find(b" ", at, at + _LONGEST_NUMBER + 1)]
        length = _number(digits.decode("ascii", "replace"))
        if not len(digits) + 1 < length <= len(data) - at:
            raise BrokenArchive("it holds a damaged header")
        key, _, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        name = key.decode("utf-8", "replace")
        if name in _USED_KEYS or name.startswith(_SPARSE):
            found[name] = value.decode("utf-8", "replace")
        at += length
    return found


def _number(text: str) -> int:
    # int() takes signs, spaces and other scripts, and thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise BrokenArchive("it holds a damaged header")
    return int(text)
