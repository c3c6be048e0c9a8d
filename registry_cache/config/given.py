"""What the file and the environment give: typed values by path, where each came from, and what is wrong with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

from registry_cache.config.problems import Problem
from registry_cache.config.raw import KeyPath, Raw, Scalar
from registry_cache.config.settings import Setting

T = TypeVar("T")

# Where a value came from that nobody gave.
DEFAULT = "default"


def dotted(path: KeyPath) -> str:
    return ".".join(path)


@dataclass(frozen=True, slots=True)
class Given:
    """All keys of one configuration. Methods that take a ``str`` mean a key's path below ``mount``.

    Without ``needs_passwords``, a password that cannot be read is not a problem: nobody is going to log in.
    """

    source: str
    settings: Mapping[KeyPath, Setting]
    problems: list[Problem]
    lines: Mapping[KeyPath, int]
    overrides: Mapping[KeyPath, str]
    mount: KeyPath = ()
    needs_passwords: bool = True
    raw: dict[KeyPath, Raw] = field(default_factory=dict)
    values: dict[KeyPath, object] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    bad: set[KeyPath] = field(default_factory=set)
    sections: set[KeyPath] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)

    def under(self, mount: KeyPath) -> "Given":
        """Return the same keys as seen from ``mount``: the default upstream or another one."""
        return replace(self, mount=mount)

    def at(self, path: str) -> KeyPath:
        return (*self.mount, *path.split("."))

    def read(self, model: Callable[..., T], **derived: object) -> T:
        """Return an instance of a class of the model, with the values given and, for the rest, the defaults."""
        found = dict(derived)
        for each in fields(cast("Any", model)):
            if each.name in derived:
                continue
            if "setting" in each.metadata:
                found[each.name] = self.value(each.metadata["setting"].path)
            elif "section" in each.metadata:
                found[each.name] = self.read(each.metadata["section"])
        return model(**found)

    def value(self, path: str) -> Any:
        """Return the value given, or the default."""
        setting = self.settings[self.at(path)]
        value = self.values.get(self.at(path), setting.default)
        return setting.absent if value is None else value

    def set(self, path: str, value: object, origin: str | None = None) -> None:
        """Set what follows from other keys, to be shown as in force."""
        self.values[self.at(path)] = value
        if origin is not None:
            self.origins[self.at(path)] = origin

    def text(self, path: str) -> str:
        """Return what was written for a key of one value; "" where nothing was."""
        raw = self.raw.get(self.at(path))
        return raw.text if isinstance(raw, Scalar) else ""

    def has(self, path: str) -> bool:
        """Whether the key is given, valid or not: a rule between keys must not report an invalid key as missing."""
        return self.at(path) in self.raw

    def valid(self, *paths: str) -> bool:
        """Whether all of these are valid or absent, so that a rule between them can be applied."""
        return not any(self.at(path) in self.bad for path in paths)

    def refuse(self, path: str, what: str, remedy: str) -> None:
        """Report what is wrong with a key."""
        self.refuse_at(self.at(path), what, remedy)

    def refuse_at(self, path: KeyPath, what: str, remedy: str) -> None:
        """Report what is wrong with what stands at a whole path."""
        self.bad.add(path)
        self.problems.append(Problem(dotted(path), what, remedy, self._where(path)))

    def origin(self, path: KeyPath) -> str:
        """Return where the value at a whole path came from."""
        if path in self.origins:
            return self.origins[path]
        return (self.override(path) or self.source) if path in self.raw else DEFAULT

    def override(self, path: KeyPath) -> str | None:
        """Return the variable that set the key at a whole path, the section above it, or an item in it."""
        above = [path[:depth] for depth in range(len(path), 0, -1)]
        below = [other for other in self.overrides if other[: len(path)] == path]
        return next((self.overrides[other] for other in [*above, *below] if other in self.overrides), None)

    def _where(self, path: KeyPath) -> str:
        return self.override(path) or (f"line {self.lines[path]}" if path in self.lines else "")
