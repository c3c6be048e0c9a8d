"""Format the configuration in force as the lines of ``registry-cache config``. Knows no key by name."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from registry_cache.config.durations import format_duration
from registry_cache.config.given import Given, dotted
from registry_cache.config.hosts import Remote
from registry_cache.config.model import InForce
from registry_cache.config.secret import MASK, Secret

# Beyond this a long path would push every origin off the screen.
WIDEST_VALUE = 60


def in_force(given: Given) -> Iterator[InForce]:
    """One entry a key, in the order of the documentation; a key that is not set is ``null``."""
    for path, setting in given.settings.items():
        yield InForce(dotted(path), format_value(given.values.get(path, setting.default)), given.origin(path))


def format_value(value: object) -> str:
    """Return a value as the file would hold it, and a mask for a secret."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, Remote):
        return value.url
    if isinstance(value, tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {format_value(item)}' for key, item in value.items())}}}"
    return str(value)


def lines(entries: Iterable[InForce]) -> Iterator[str]:
    """``path: value   # origin``, with the origins below one another."""
    pairs = [(f"{entry.path}: {entry.value}", entry.origin) for entry in entries]
    width = min(max((len(text) for text, _ in pairs), default=0), WIDEST_VALUE)
    for text, origin in pairs:
        yield f"{text:<{width}}  # {origin}"
