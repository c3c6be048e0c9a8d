"""How a key of the configuration is declared: once, as a field of the frozen model in ``model.py``.

A declaration holds the key's path, parser and default. Parsing, the names of environment variables, the output of
``registry-cache config``, the report of unknown keys and the test of docs/configuration.md all follow from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TypeVar, cast

from registry_cache.config import values
from registry_cache.config.raw import KeyPath, Scalar

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """One key that is acted upon.

    ``path`` is relative to where the key is mounted: the file's top, or an upstream. ``default_text`` is the default as
    the file would hold it, "" for none; the key's own parser reads it, so it cannot be invalid. ``absent`` is the value
    of a key that has no default and is not given. ``structured``: the value of its environment variable is YAML; for
    any other key it is the text itself, so that a password needs no quoting. ``older`` is a name that Distribution gave
    the key before; it is read where ``path`` is not given.
    """

    path: str
    parse: values.Parser[object]
    default_text: str = ""
    structured: bool = False
    absent: object = None
    older: str = ""
    default: object = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.default_text:
            object.__setattr__(self, "default", self.parse(Scalar(self.default_text)))

    def at(self, mount: KeyPath) -> KeyPath:
        """Return the key's whole path below ``mount``."""
        return (*mount, *self.path.split("."))


def setting(
    path: str,
    parse: values.Parser[T],
    default_text: str = "",
    *,
    structured: bool = False,
    absent: T | None = None,
    older: str = "",
) -> T:
    """Declare a field of the model that holds a key's value."""
    return cast("T", field(metadata={"setting": Setting(path, parse, default_text, structured, absent, older)}))


def list_setting(path: str, parse_item: values.Parser[T], *, older: str = "") -> tuple[T, ...]:
    """Declare a field of the model that holds a key's list; () where it is not given."""
    return setting(path, values.many(parse_item), structured=True, absent=(), older=older)


def section(model: type[T]) -> T:
    """Declare a field of the model that holds a section, whose own fields declare its keys."""
    return cast("T", field(metadata={"section": model}))


def settings_of(model: type) -> Iterator[Setting]:
    """Yield every key that a class of the model declares, those of its sections included, in order."""
    for each in fields(model):
        if "setting" in each.metadata:
            yield each.metadata["setting"]
        elif "section" in each.metadata:
            yield from settings_of(each.metadata["section"])
