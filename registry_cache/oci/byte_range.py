"""``Range`` and ``Content-Range`` of one part, in bytes (RFC 9110 §14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry_cache.errors import RangeNotSatisfiable

# int() of a megabyte of digits would take seconds. A range may have more digits than any file size: clients write
# 2**63-1 or 2**64-1 (19 and 20 digits) for "to the end".
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from ``start`` up to, not including, ``stop`` of ``size``."""

    start: int
    stop: int
    size: int

    def __str__(self) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the part of ``size`` bytes that ``header`` asks for.

    None where the whole is the right answer: no header, another unit, several ranges (a server may ignore them, and
    podman takes a plain 200 in return, P16), or a broken grammar. RangeNotSatisfiable if it begins behind the end, or
    ends before it begins: RFC 9110 calls that invalid, and the OCI conformance program wants a 416.
    """
    match = _RANGE.fullmatch(header or "")
    if not match or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        stop = min(size, int(match[2]) + 1) if match[2] else size
        if match[2] and int(match[2]) < start:
            raise RangeNotSatisfiable(f"the range {header!r} ends before it begins", size=size)
    if start >= stop:
        raise RangeNotSatisfiable(f"the range {header!r} begins behind the end: there are {size} bytes", size=size)
    return ByteRange(start, stop, size)


def has_end(header: str) -> bool:
    """Tell whether a Range is one part that says where it ends, or how much of the end it wants.

    Who resumes, or fetches a blob in chunks and leaves each at the next, names no end.
    """
    match = _RANGE.fullmatch(header)
    return match is not None and bool(match[2])


def parse_content_range(header: str | None) -> tuple[int, int, int | None] | None:
    """Return start, stop (behind the last byte) and whole size (None for ``*``) of an upstream's 206.

    None where it breaks the grammar or is impossible: a last byte before the first or behind the end (RFC 9110
    §14.4: such a part must not be appended to anything).
    """
    match = _CONTENT_RANGE.fullmatch((header or "").strip())
    if not match:
        return None
    start, last, size = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    if last < start or (size is not None and size <= last):
        return None
    return start, last + 1, size
