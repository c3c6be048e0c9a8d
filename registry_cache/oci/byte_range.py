"""``Range``, of one part or of several, and ``Content-Range``, in bytes (RFC 9110 §14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry_cache.errors import RangeNotSatisfiable

# int() of a megabyte of digits would take seconds. A range may have more digits than any file size: clients write
# 2**63-1 or 2**64-1 (19 and 20 digits) for "to the end".
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,40})-([0-9]{0,40})[ \t]*", re.ASCII | re.IGNORECASE)
_SEVERAL = re.compile(r"bytes[ \t]*=([0-9, \t-]*)", re.ASCII | re.IGNORECASE)
_ONE_OF_SEVERAL = re.compile(r"([0-9]{0,40})-([0-9]{0,40})", re.ASCII)
# Of one request: those of a layer's chunks that a client lacks, which podman asks for 1024 at once. A head has no room
# for more.
MAX_RANGES = 1024
_UNSATISFIED = re.compile(r"bytes \*/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from ``start`` up to, not including, ``stop`` of ``size``."""

    start: int
    stop: int
    size: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the part of ``size`` bytes that ``header`` asks for.

    None where the whole is the right answer: no header, another unit, several ranges (``parse_ranges``), or a broken
    grammar. RangeNotSatisfiable if it begins behind the end, or ends before it begins: RFC 9110 calls that invalid, and
    the OCI conformance program wants a 416.
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


def parse_ranges(header: str | None, size: int) -> list[ByteRange]:
    """Return the parts of ``size`` bytes that ``header`` asks for, in its order.

    [] where the whole is the right answer. That is also where several parts have a broken grammar, or are more than the
    whole has: they overlap, and a short request would cost a long answer (RFC 9110 §14.2). Of several, those that
    cannot be satisfied are left out. RangeNotSatisfiable where none can, and as ``parse_range`` has it.
    """
    single = parse_range(header, size)
    if single:
        return [single]
    texts = _split(header or "")
    parts = []
    for text in texts:
        try:
            part = parse_range(f"bytes={text}", size)
        except RangeNotSatisfiable:
            continue
        if part is None:
            return []
        parts.append(part)
    if texts and not parts:
        raise RangeNotSatisfiable(f"the ranges {header!r} begin behind the end: there are {size} bytes", size=size)
    return parts if sum(map(len, parts)) <= size else []


def has_end(header: str) -> bool:
    """Tell whether all parts of a Range say where they end, or how much of the end they want.

    Who resumes, or fetches a blob in chunks and leaves each at the next, names no end.
    """
    match = _RANGE.fullmatch(header)
    texts = [f"{match[1]}-{match[2]}"] if match else _split(header)
    return bool(texts) and all(text[-1] != "-" for text in texts)


def _split(header: str) -> list[str]:
    """Return the texts of several ranges, [] where they are not several or have a broken grammar."""
    match = _SEVERAL.fullmatch(header)
    texts = [text.strip(" \t") for text in match[1].split(",")] if match else []
    is_sound = 1 < len(texts) <= MAX_RANGES and all(_ONE_OF_SEVERAL.fullmatch(text) for text in texts)
    return texts if is_sound and "-" not in texts else []


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


def parse_unsatisfied(header: str | None) -> int | None:
    """Return the whole size that an upstream's 416 tells; None where it tells none."""
    match = _UNSATISFIED.fullmatch((header or "").strip())
    return int(match[1]) if match else None
