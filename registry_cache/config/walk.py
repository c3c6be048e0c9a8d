"""The walk down a file: each key is taken, refused, noted as ignored, or reported as unknown."""

from collections.abc import Iterator
from difflib import get_close_matches

from registry_cache.config import distribution, schema
from registry_cache.config.distribution import RefusedKey
from registry_cache.config.given import Given, dotted
from registry_cache.config.problems import InvalidValue
from registry_cache.config.raw import KeyPath, Raw, Scalar, means_something

_ANY_UPSTREAM = f"{schema.UPSTREAMS}.*"
# What somebody means who writes one value in the place of a section, and the key for that.
_MAIN_KEYS = {
    "storage": ("a folder", "filesystem.rootdirectory"),
    "http": ("an address", "addr"),
    "log": ("a level", "level"),
    "proxy": ("a registry's URL", "remoteurl"),
    _ANY_UPSTREAM: ("its URL", "remoteurl"),
}


class KeyWalk:
    """Sorts every key of a tree into ``given``. ``upstreams`` are those that the file names."""

    def __init__(self, given: Given, upstreams: tuple[str, ...]) -> None:
        self._given = given
        self._accepted = schema.accepted(upstreams)
        self._sections = schema.sections(self._accepted) | {(schema.UPSTREAMS,)}

    def run(self, tree: Raw) -> None:
        self._section(tree, ())
        self._rename()
        for path, raw in self._given.raw.items():
            try:
                self._given.values[path] = self._given.settings[path].parse(raw)
            except InvalidValue as error:
                self._given.refuse_at(path, error.what, error.remedy)

    def _section(self, raw: Raw, path: KeyPath) -> None:
        if isinstance(raw, dict):
            for key, value in raw.items():
                self._key((*path, key), value)
        elif raw is not None and raw != Scalar(""):
            remedy = f"{_main_key(path)}write its keys below it: {self._known(path)}"
            if path == (schema.UPSTREAMS,):
                remedy = "write each registry as a key of its own, with a colon: ghcr.io: {}"
            self._given.refuse_at(path, "is not a section", remedy)

    def _key(self, path: KeyPath, raw: Raw) -> None:
        name = dotted(path)
        if path in self._sections:
            self._given.sections.add(path)
            self._section(raw, path)
        elif path in self._given.settings or name in schema.RENAMED:
            if raw is not None and raw != Scalar(""):
                self._given.raw[path] = raw
        elif name in distribution.REFUSED:
            self._refuse(path, raw, distribution.REFUSED[name])
        elif path not in self._accepted:
            self._given.refuse_at(path, "unknown key", self._suggestion(path))
        elif name in distribution.IGNORED and means_something(raw):
            self._given.ignored.append(name)

    def _refuse(self, path: KeyPath, raw: Raw, refused: RefusedKey) -> None:
        text = raw.text if isinstance(raw, Scalar) else ""
        if refused.harmless is None or (means_something(raw) and text not in refused.harmless):
            self._given.refuse_at(path, refused.what, refused.remedy)

    def _rename(self) -> None:
        given = self._given
        for older, setting in schema.RENAMED.items():
            path = tuple(older.split("."))
            if path in given.raw:
                raw = given.raw.pop(path)
                if not given.has(setting.path):
                    given.raw[given.at(setting.path)] = raw
                    given.origins[given.at(setting.path)] = given.overrides.get(path, given.source)

    def _suggestion(self, path: KeyPath) -> str:
        key = path[-1][:60].lower()
        if near := _near(key, self._children(path[:-1])):
            return f"did you mean {dotted((*path[:-1], near[0]))}?"
        # Keys before sections, and sections in one order.
        elsewhere = [*self._accepted, *sorted(self._sections)]
        if found := next((other for other in elsewhere if other[-1:] == (key,)), None):
            return f"did you mean {dotted(found)}?"
        return f"known here: {self._known(path[:-1])}"

    def _known(self, path: KeyPath) -> str:
        return ", ".join(self._children(path)) or "the name of a registry, such as ghcr.io"

    def _children(self, path: KeyPath) -> list[str]:
        """Return the names of the keys and sections that are known below a path, sorted."""
        return sorted(set(self._below(path)))

    def _below(self, path: KeyPath) -> Iterator[str]:
        if path == (schema.UPSTREAMS,):
            return
        if path == ():
            yield schema.UPSTREAMS
        for other in self._accepted:
            if other[: len(path)] == path and len(other) > len(path):
                yield other[len(path)]


def _main_key(path: KeyPath) -> str:
    """Return how to write what was perhaps meant by one value where a section belongs."""
    is_upstream = len(path) == 2 and path[0] == schema.UPSTREAMS
    key = _MAIN_KEYS.get(_ANY_UPSTREAM if is_upstream else dotted(path))
    return f"if it is {key[0]}, write it as {dotted((*path, key[1]))}; else " if key else ""


def _near(key: str, known: list[str]) -> list[str]:
    """Return the one that was perhaps meant: a longer word that begins or ends so, or one with a slip."""
    longer = [each for each in known if len(key) > 2 and (each.startswith(key) or each.endswith(key))]
    return get_close_matches(key, known, n=1, cutoff=0.7) or longer[:1]
