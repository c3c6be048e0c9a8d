"""Parsers, one for each type: from what a key holds to a typed value. Each raises InvalidValue."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar, get_args

from registry_cache.config import durations, hosts, sizes
from registry_cache.config.problems import InvalidValue
from registry_cache.config.raw import Raw, Scalar
from registry_cache.config.secret import Secret

T = TypeVar("T")
Parser: TypeAlias = Callable[[Raw], T]

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# These describe the body; a constant in their place would break every response.
FRAMING_HEADERS = ("connection", "content-length", "content-range", "content-type", "transfer-encoding")
LONGEST_WAIT = timedelta(hours=1)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+){1,8}", re.ASCII)
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DAYS = re.compile(r"([0-9]{1,6})(d|w)")
_DURATION_REMEDY = "write a number with its unit: 168h, 90m, 1h30m, 30s"


def line(raw: Raw) -> str:
    """A text as written; refused are line breaks and control characters, which no file name or header can hold."""
    if not isinstance(raw, Scalar):
        raise InvalidValue(f"is {_kind(raw)}", "write one value")
    if any(ord(sign) < 32 or ord(sign) == 127 or 0xD800 <= ord(sign) < 0xE000 for sign in raw.text):
        raise InvalidValue("contains a control character", "write it on one line, as plain text")
    return raw.text


def secret(raw: Raw) -> Secret:
    return Secret(line(raw))


def boolean(raw: Raw) -> bool:
    text = line(raw)
    if text.lower() not in BOOLEANS:
        raise InvalidValue(f"{text[:40]!r} is neither true nor false", "write true or false")
    return BOOLEANS[text.lower()]


def metrics_path(raw: Raw) -> str:
    """A path that does not clash with our other URLs."""
    text = line(raw)
    if (
        not _PATH.fullmatch(text)
        or text in ("/healthz", "/readyz", "/debug/health")
        or re.match(r"/(v2|ui)(/|$)", text)
    ):
        raise InvalidValue(f"{text[:80]!r} cannot be the path of the metrics", "write one such as /metrics")
    return text


def version(raw: Raw) -> str:
    text = line(raw)
    if text != "0.1":
        raise InvalidValue(f"version {text[:40]!r} is unknown", "write 0.1, the only version of this format")
    return text


def whole(least: int, most: int) -> Parser[int]:
    """A parser of whole numbers from ``least`` to ``most``."""

    def parse(raw: Raw) -> int:
        text = line(raw)
        if not re.fullmatch(r"-?[0-9]{1,12}", text):
            raise InvalidValue(f"{text[:40]!r} is not a whole number", f"write a number from {least} to {most}")
        if not least <= int(text) <= most:
            raise InvalidValue(f"{text} is out of range", f"write a number from {least} to {most}")
        return int(text)

    return parse


def duration(raw: Raw) -> timedelta:
    """A Go duration that is not negative."""
    text = line(raw)
    try:
        value = durations.parse_duration(text)
    except ValueError as error:
        if days := _DAYS.fullmatch(text):
            word, hours = {"d": ("days", 24), "w": ("weeks", 168)}[days[2]]
            what = f"{text} is in {word}, and the longest unit is the hour"
            raise InvalidValue(what, f"write {int(days[1]) * hours}h") from None
        bare = re.fullmatch(r"[+-]?[0-9]{1,15}", text)
        what = f"{text} has no unit" if bare else f"{text[:40]!r} is {error}"
        raise InvalidValue(
            what, f"{_DURATION_REMEDY}; a bare number would be nanoseconds" if bare else _DURATION_REMEDY
        ) from None
    if value < timedelta():
        raise InvalidValue(f"{text} is negative", _DURATION_REMEDY)
    return value


def wait(raw: Raw) -> timedelta:
    """A Go duration that limits a wait: over 0, which libraries take for forever, and at most an hour."""
    value = duration(raw)
    if not timedelta() < value <= LONGEST_WAIT:
        raise InvalidValue(f"{line(raw)} is out of range", "write more than 0 and at most 1h")
    return value


def size(raw: Raw) -> sizes.Size:
    """Bytes, or a share of the disk; 0 means no limit."""
    text = line(raw)
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        remedy = "write bytes with their unit or a share of the disk: 200GB, 150GiB, 80%"
        raise InvalidValue(f"{text[:40]!r} is {error}", remedy) from None


def path(raw: Raw) -> Path:
    """A file or folder, made absolute against the folder the program was started in."""
    text = line(raw)
    if text[:1] in ("~", "$"):
        # A folder of that very name would be made below the one that the program was started in.
        raise InvalidValue(f"{text[:80]!r} is for a shell, and none reads it", "write the path from the root")
    try:
        return Path(os.path.abspath(text))
    except FileNotFoundError:
        raise InvalidValue("is relative to a folder that is gone", "write it from the root, as /path/to/it") from None


def host(raw: Raw) -> str:
    return hosts.parse_host(line(raw))


def host_name(raw: Raw) -> str:
    """A host without a port, in lower case."""
    found = host(raw)
    if ":" in found:
        raise InvalidValue(f"{found[:80]!r} has a port", "write the name alone, such as cache.example.com")
    return found


def alias(raw: Raw) -> str:
    return hosts.parse_alias(line(raw))


def remote(raw: Raw) -> hosts.Remote:
    return hosts.parse_remote(line(raw))


def proxy_url(raw: Raw) -> Secret:
    """An HTTP proxy's URL; a Secret, because the proxy's credentials are part of it."""
    text = line(raw)
    hosts.split_url(text, "http://proxy.example.com:3128")
    return Secret(text)


def helper(raw: Raw) -> str:
    """A Docker credential helper's short name: ``ecr-login`` for the program docker-credential-ecr-login."""
    text = line(raw)
    if not _PROGRAM.fullmatch(text):
        raise InvalidValue(
            f"{text[:40]!r} is not the name of a helper", "write what follows docker-credential-, such as ecr-login"
        )
    return text


def variable(raw: Raw) -> str:
    text = line(raw)
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        # If somebody put the password itself here, it must not appear in a log.
        raise InvalidValue(
            "is not the name of an environment variable", "write the variable's name, such as HUB_PASSWORD"
        )
    return text


def choice(words: Mapping[str, T], older: Mapping[str, T] = MappingProxyType({})) -> Parser[T]:
    """A parser of the given words, in any case, and of ``older`` ones, which error messages do not recommend."""
    in_any_case = {word.lower(): value for word, value in {**older, **words}.items()}

    def parse(raw: Raw) -> T:
        text = line(raw)
        if text.lower() not in in_any_case:
            raise InvalidValue(f"{text[:40]!r} is unknown", f"write one of {', '.join(words)}")
        return in_any_case[text.lower()]

    return parse


def literal(alias: object, older: Mapping[str, Any] = MappingProxyType({})) -> Parser[Any]:
    """A parser of the words of ``alias``, a Literal."""
    return choice({text: text for text in get_args(alias)}, older)


def word(words: Iterable[str], older: Iterable[str] = ()) -> Parser[str]:
    """A parser of the given words that yields the word itself."""
    return choice({text: text for text in words}, {text: text for text in older})


def many(one: Parser[T]) -> Parser[tuple[T, ...]]:
    """A parser of lists; a single value is a list of one."""

    def parse(raw: Raw) -> tuple[T, ...]:
        items = raw if isinstance(raw, list) else [raw]
        return tuple(one(item) for item in items)

    return parse


def headers(raw: Raw) -> dict[str, tuple[str, ...]]:
    """Response headers: a name to one value or several. Values are Latin-1, as in HTTP."""
    if not isinstance(raw, dict):
        raise InvalidValue(f"is {_kind(raw)}", "write Name: [value] lines below it")
    found: dict[str, tuple[str, ...]] = {}
    for name, values in raw.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in FRAMING_HEADERS:
            raise InvalidValue(f"{name[:40]!r} cannot be set", "name a header such as X-Content-Type-Options")
        if name.lower() in map(str.lower, found):
            raise InvalidValue(f"{name} is given twice", "list its values under one name")
        found[name] = many(_header_value)(values)
    return found


def _header_value(raw: Raw) -> str:
    text = line(raw)
    if any(ord(sign) > 255 for sign in text):
        raise InvalidValue("a header's value has a character outside Latin-1", "write it in ASCII")
    return text


def _kind(raw: Raw) -> str:
    return {dict: "a section", list: "a list", Scalar: "one value"}.get(type(raw), "empty")
