"""``WWW-Authenticate`` challenges by their grammar (RFC 9110 §11.2 and §11.6.1; P18).

A header value may hold several challenges, and a parameter's quoted value may hold commas (``scope="a:pull,push"``)
and escapes, so it is read token by token and never split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

# No registry sends a longer one, nor as many; the bounds keep hostile headers from costing time.
MAX_CHALLENGE_LENGTH = 16 * 1024
MAX_CHALLENGES = 64

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# A name with "=" behind it is a parameter, never a scheme.
_SCHEME = re.compile(rf"({_TOKEN.pattern}+)(?:[ \t]++(?!=)|(?=,|\Z))", re.ASCII)
_TOKEN68 = re.compile(r"[0-9A-Za-z._~+/-]+=*(?=[ \t]*(?:,|\Z))", re.ASCII)
# The grammar asks for a token; some registries write a URL all the same, and leave out its quotes or write single ones.
# Around a token these would be a part of it.
_BARE = re.compile(r"'([^\s,;\"':/]*[:/][^\s,;\"']*)'|([^\s,;\"=][^\s,;\"]*)")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_COMMAS = re.compile(r"[ \t,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge: the scheme in lower case, its parameters by lower-case name."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """Return the challenges of every header instance in ``values``, in order.

    A break of the grammar ends its own header instance; what stood before it is kept.
    """
    found = (challenge for value in values for challenge in _parse(value[:MAX_CHALLENGE_LENGTH]))
    return list(islice(found, MAX_CHALLENGES))


def _parse(text: str) -> Iterator[Challenge]:
    at = _skip_commas(text, 0)
    while match := _SCHEME.match(text, at):
        challenge = Challenge(match[1].lower())
        at = match.end()
        token68 = _TOKEN68.match(text, at)
        # Commas may stand before the first parameter too: a list may begin with empty elements (§5.6.1).
        parameter = _parameter(text, _skip_commas(text, at))
        if token68 and not parameter:
            at = token68.end()
        while parameter:
            name, value, at = parameter
            challenge.parameters.setdefault(name, value)
            following = _skip_commas(text, at)
            parameter = _parameter(text, following) if following > at else None
        yield challenge
        end, at = at, _skip_commas(text, at)
        if "," not in text[end:at]:
            break


def _parameter(text: str, at: int) -> tuple[str, str, int] | None:
    """Return name, value and the place behind ``name=value`` at ``at``; None where none begins there."""
    name = _TOKEN.match(text, at)
    equals = _EQUALS.match(text, name.end()) if name else None
    if not name or not equals:
        return None
    quoted = _QUOTED.match(text, equals.end())
    if quoted:
        return name[0].lower(), re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL), quoted.end()
    bare = _BARE.match(text, equals.end())
    return (name[0].lower(), bare[1] or bare[2], bare.end()) if bare else None


def _skip_commas(text: str, at: int) -> int:
    match = _COMMAS.match(text, at)
    return match.end() if match else at
