"""The walk down a file: each key is taken, refused, named as ignored, or reported as unknown."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar, cast

from registry_cache.config import schema
from registry_cache.config.problems import Report, Wrong
from registry_cache.config.raw import KeyPath, Raw, Scalar, means_something

T = TypeVar("T")


def dotted(path: KeyPath) -> str:
    return ".".join(path)


@dataclass(slots=True)
class Found:
    """What the file and the environment give: typed values by path, and where each came from."""

    source: str
    report: Report
    lines: dict[KeyPath, int]
    overrides: dict[KeyPath, str]
    upstreams: tuple[str, ...]
    raw: dict[KeyPath, Raw] = field(default_factory=dict)
    values: dict[KeyPath, object] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    bad: set[KeyPath] = field(default_factory=set)
    sections: set[KeyPath] = field(default_factory=set)
    ignored: list[str] = field(default_factory=list)

    def get(self, setting: schema.Setting[T], mount: KeyPath = ()) -> T | None:
        """The value given, or the default."""
        return cast("T | None", self.values.get(setting.at(mount), setting.default))

    def need(self, setting: schema.Setting[T], mount: KeyPath = ()) -> T:
        """The value of a key that has a default."""
        value = self.get(setting, mount)
        if value is None:
            raise LookupError(f"{setting.path} has no default")
        return value

    def set(self, setting: schema.Setting[T], value: T, mount: KeyPath = (), origin: str | None = None) -> None:
        """What follows from other keys, to be shown as in force."""
        self.values[setting.at(mount)] = value
        if origin is not None:
            self.origins[setting.at(mount)] = origin

    def text(self, setting: schema.AnySetting) -> str:
        """What was written for a key of one value; "" where nothing was."""
        raw = self.raw.get(setting.at(()))
        return raw.text if isinstance(raw, Scalar) else ""

    def given(self, setting: schema.AnySetting, mount: KeyPath = ()) -> bool:
        """Whether the key is given, well or badly: a rule between keys must not report what is misspelt as missing."""
        return setting.at(mount) in self.raw

    def well(self, *settings: schema.AnySetting, mount: KeyPath = ()) -> bool:
        """Whether none of these is given badly, so that a rule between them can be judged."""
        return not any(setting.at(mount) in self.bad for setting in settings)

    def wrong(self, path: KeyPath, what: str, remedy: str) -> None:
        self.bad.add(path)
        self.report.add(dotted(path), what, remedy, self.where(path))

    def where(self, path: KeyPath) -> str:
        if origin := self._override(path):
            return origin
        return f"line {self.lines[path]}" if path in self.lines else ""

    def origin(self, path: KeyPath) -> str:
        if path in self.origins:
            return self.origins[path]
        return (self._override(path) or self.source) if path in self.raw else "default"

    def overridden(self, path: KeyPath) -> bool:
        return self._override(path) is not None

    def _override(self, path: KeyPath) -> str | None:
        """The variable that set this key, the section above it, or an item in it."""
        above = [path[:depth] for depth in range(len(path), 0, -1)]
        below = [other for other in self.overrides if other[: len(path)] == path]
        return next((self.overrides[other] for other in [*above, *below] if other in self.overrides), None)


class Walk:
    """Sorts every key of a tree into a Found."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.settings = schema.settings_with(found.upstreams)
        self.accepted = schema.accepted(found.upstreams)
        self.sections = schema.sections(iter(self.accepted)) | {(schema.UPSTREAMS,)}

    def run(self, tree: Raw) -> None:
        self._section(tree, ())
        self._rename()
        for path, raw in self.found.raw.items():
            self._parse(path, raw)

    def _section(self, raw: Raw, path: KeyPath) -> None:
        if isinstance(raw, dict):
            for key, value in raw.items():
                self._key((*path, key), value)
        elif raw is not None and raw != Scalar(""):
            self.found.wrong(path, "is no section", f"write its keys below it: {self._known(path)}")

    def _key(self, path: KeyPath, raw: Raw) -> None:
        if path in self.sections:
            self.found.sections.add(path)
            self._section(raw, path)
        elif path in self.settings or dotted(path) in schema.RENAMED:
            if raw is not None and raw != Scalar(""):
                self.found.raw[path] = raw
        elif dotted(path) in schema.REFUSED:
            self._refused(path, raw, schema.REFUSED[dotted(path)])
        elif path not in self.accepted:
            self.found.wrong(path, "unknown key", self._suggestion(path))
        elif dotted(path) in schema.IGNORED and means_something(raw):
            self.found.ignored.append(dotted(path))

    def _refused(self, path: KeyPath, raw: Raw, refused: schema.Refused) -> None:
        text = raw.text if isinstance(raw, Scalar) else ""
        if refused.harmless is None or (means_something(raw) and text not in refused.harmless):
            self.found.wrong(path, refused.what, refused.remedy)

    def _rename(self) -> None:
        for old, setting in schema.RENAMED.items():
            path = tuple(old.split("."))
            if path in self.found.raw:
                raw = self.found.raw.pop(path)
                if not self.found.given(setting):
                    self.found.raw[setting.at(())] = raw
                    self.found.origins[setting.at(())] = self.found.overrides.get(path, self.found.source)

    def _parse(self, path: KeyPath, raw: Raw) -> None:
        setting = self.settings[path]
        try:
            self.found.values[path] = setting.parse(raw)
        except Wrong as wrong:
            self.found.wrong(path, wrong.what, wrong.remedy)

    def _suggestion(self, path: KeyPath) -> str:
        key = path[-1][:60].lower()
        siblings = sorted(set(self._children(path[:-1])))
        if near := get_close_matches(key, siblings, n=1, cutoff=0.7):
            return f"did you mean {dotted((*path[:-1], near[0]))}?"
        if elsewhere := next((other for other in self.accepted if other[-1] == key), None):
            return f"did you mean {dotted(elsewhere)}?"
        return f"known here: {self._known(path[:-1])}"

    def _known(self, path: KeyPath) -> str:
        return ", ".join(sorted(set(self._children(path)))) or "the name of a registry, such as ghcr.io"

    def _children(self, path: KeyPath) -> Iterator[str]:
        if path == (schema.UPSTREAMS,):
            return
        if path == ():
            yield schema.UPSTREAMS
        for other in self.accepted:
            if other[: len(path)] == path and len(other) > len(path):
                yield other[len(path)]
