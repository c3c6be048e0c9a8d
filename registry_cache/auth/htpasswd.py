"""Parse an htpasswd file: ``user:hash`` a line, bcrypt only, as in CNCF Distribution. Pure.

No message repeats what follows a colon: a hash can be attacked, and a line without one may be a password.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Enough for a hundred thousand users; a larger file is something else.
MAX_FILE_SIZE = 8 * 1024 * 1024
# At this cost a login takes some ten seconds of a core.
MAX_COST = 17

# Two digits of cost, then 22 signs of salt and 31 of hash in bcrypt's own base64. The salt's last sign has two bits:
# the library refuses one that has more, and each login with it would fail with an internal error.
_BCRYPT = re.compile(rb"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
_MIN_COST = 4  # bcrypt's own


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with line number ``line``, counted from 1."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line} {self.what}"


class MalformedFile(Exception):
    """A file with invalid lines; ``faults`` are all of them, in order. ``str()`` names the first few."""

    _SHOWN = 5

    def __init__(self, faults: tuple[LineError, ...]) -> None:
        self.faults = faults
        more = f", and {len(faults) - self._SHOWN} more" if len(faults) > self._SHOWN else ""
        super().__init__(", ".join(map(str, faults[: self._SHOWN])) + more)


def parse(content: bytes) -> Mapping[bytes, bytes]:
    """Return each user's hash. Blank lines and those that begin with ``#`` are passed over. Raises MalformedFile.

    Names stay bytes, as clients send them: we do not guess the encoding of an editor.
    """
    found: dict[bytes, bytes] = {}
    lines: dict[bytes, int] = {}
    faults: list[LineError] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        text = line.strip()
        if not text or text.startswith(b"#"):
            continue
        user, _, stored = text.partition(b":")
        if fault := _fault(text, user, stored, lines):
            faults.append(LineError(number, fault))
        found[user] = stored
        lines.setdefault(user, number)
    if faults:
        raise MalformedFile(tuple(faults))
    return MappingProxyType(found)


def _fault(text: bytes, user: bytes, stored: bytes, lines: Mapping[bytes, int]) -> str | None:
    if b":" not in text:
        return "is no user:hash"
    if not user:
        return "has no user name"
    if user in lines:
        return f"names a user of line {lines[user]} again"
    match = _BCRYPT.fullmatch(stored)
    if match is None:
        return "is not hashed by bcrypt (make it by: htpasswd -B)"
    if not _MIN_COST <= int(match["cost"]) <= MAX_COST:
        return f"has a cost that is not {_MIN_COST} to {MAX_COST}"
    return None


def dummy_hash(stored: bytes) -> bytes:
    """Return a hash that takes as long to compare as ``stored``, and that no known password matches."""
    return stored[:7] + b"." * 53
