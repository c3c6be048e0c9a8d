"""Parse and format durations as Go writes them: ``168h``, ``1h30m``, ``1.5s``, ``0``. Pure."""

import re
from datetime import timedelta
from fractions import Fraction
from math import ceil

MICROSECONDS = {
    "h": Fraction(3_600_000_000),
    "m": Fraction(60_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "μs": Fraction(1),
    "ns": Fraction(1, 1_000),
}
PRINTED_UNITS = ("h", "m", "s", "ms", "us")
# Go keeps a duration in 64 bits of nanoseconds; a longer one would not start Distribution either.
LONGEST = timedelta(microseconds=(2**63 - 1) // 1_000)
# Python refuses to parse numbers of thousands of digits, with an exception that nobody expects here.
MOST_CHARACTERS = 64

_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|us|µs|μs|ns|m|s)")
_DURATION = re.compile(rf"([+-]?)((?:{_TERM.pattern})+)")


def parse_duration(text: str) -> timedelta:
    """Read a duration as Go writes it; the sign is kept, so the caller refuses what must not be negative.

    Finer than a microsecond is rounded away from zero: ``1ns`` must not become ``0``, which means "never expires".
    Raises ValueError on anything else, a number without its unit included: Distribution reads it as nanoseconds,
    and whoever writes ``604800`` means seconds.
    """
    if text in ("0", "+0", "-0"):
        return timedelta()
    match = _DURATION.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if match is None:
        raise ValueError("not a duration")
    exact = sum(
        (Fraction(number.rstrip(".")) * MICROSECONDS[unit] for number, unit in _TERM.findall(match[2])), Fraction()
    )
    if exact > LONGEST // timedelta(microseconds=1):
        raise ValueError("longer than 292 years")
    size = timedelta(microseconds=ceil(exact))
    return -size if match[1] == "-" else size


def format_duration(duration: timedelta) -> str:
    """Write a duration so that parse_duration reads the same one: ``168h``, ``1h30m``, ``1s500ms``, ``0``."""
    left = abs(duration) // timedelta(microseconds=1)
    terms = []
    for unit in PRINTED_UNITS:
        count, left = divmod(left, int(MICROSECONDS[unit]))
        if count:
            terms.append(f"{count}{unit}")
    return ("-" if duration < timedelta() else "") + ("".join(terms) or "0")
