"""Put environment variables into the tree: ``REGISTRY_PROXY_TTL=24h``, ``REGISTRY_PROXY_PASSWORD_FILE=/run/hub``.

Knows how variables are named; does not know which value is right for a key.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from registry_cache.config import schema
from registry_cache.config.distribution import expand_short_forms
from registry_cache.config.problems import InvalidValue, Problem
from registry_cache.config.raw import KeyPath, Raw, Scalar, parse_yaml, put
from registry_cache.config.readable import cannot_read

FILE_VARIABLES = ("REGISTRY_CACHE_CONFIG", "REGISTRY_CONFIGURATION_PATH")
# The image of registry:2 sets this to its own version. Distribution takes the format's version from the file only, too.
NO_OVERRIDES = (*FILE_VARIABLES, "REGISTRY_VERSION")
# What Kubernetes and `docker --link` set for a service that is called registry or registry-something.
SERVICE_VARIABLES = re.compile(
    r"REGISTRY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT|PORT_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)"
    r"|REGISTRY_(NAME|ENV_\w+)"
)
INDEX = re.compile(r"[0-9]{1,4}")
# A secret is one line; a path that leads to a device or a log must not be read to its end.
LARGEST_SECRET = 64 * 1024


@dataclass(slots=True)
class Overrides:
    """The tree with the environment in it, where each overridden path came from, and warnings for the operator."""

    tree: Raw
    origins: dict[KeyPath, str]
    warnings: list[str]


def read_secret_file(path: str) -> str:
    """Return a file's text without its trailing newline. Raises InvalidValue, which names the file."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None
    if len(content) > LARGEST_SECRET:
        raise InvalidValue(f"{path} is longer than a secret can be", "name the file that holds nothing else")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{path} is not UTF-8 text", "write the secret as text") from None
    return re.sub(r"\r?\n\Z", "", text)


def apply_environment(
    tree: Raw, environ: Mapping[str, str], upstreams: tuple[str, ...], problems: list[Problem]
) -> Overrides:
    """Put every ``REGISTRY_…`` variable that names a key into the tree; unknown ones become warnings, not errors."""
    names = _Names(upstreams)
    result = Overrides(tree, {}, [])
    # Sorted, so that REGISTRY_STORAGE comes before REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY, as in Distribution.
    for variable in sorted(name for name in environ if name.startswith("REGISTRY_") and name not in NO_OVERRIDES):
        if found := names.find(variable):
            _apply(result, variable, found, environ, problems)
        elif not SERVICE_VARIABLES.fullmatch(variable):
            result.warnings.append(names.unknown(variable))
    return result


@dataclass(frozen=True, slots=True)
class _NamedKey:
    """The key that a variable names; ``structured``: its value is YAML; ``in_file``: its value is a file's name."""

    path: KeyPath
    structured: bool = True
    in_file: bool = False


class _Names:
    """Finds the keys that variables name."""

    def __init__(self, upstreams: tuple[str, ...]) -> None:
        self.settings = schema.settings_by_path(upstreams)
        accepted = schema.accepted(upstreams)
        self.exact: dict[str, list[KeyPath]] = {}
        # Only the file adds upstreams; a variable can reach into those.
        for path in [*accepted, *schema.sections(accepted) - {(), (schema.UPSTREAMS,)}]:
            self.exact.setdefault(schema.environment_name(path), []).append(path)
        self.opaque = {
            schema.environment_name(path): path
            for path in accepted
            if path not in self.settings or path[-1] == "headers"
        }

    def find(self, variable: str) -> _NamedKey | None:
        """The key that a variable names; None where there is none, or two upstreams' names look alike in capitals."""
        stem = self._only(variable.removesuffix("_FILE")) if variable.endswith("_FILE") else None
        if stem in self.settings and not self.settings[stem].structured:
            # This is also the name of password_file's own variable, which means the same.
            return _NamedKey(stem, in_file=True)
        if (path := self._only(variable)) is not None:
            return _NamedKey(path, self._structured(path))
        if match := re.fullmatch(rf"(.+)_({INDEX.pattern})", variable):
            path = self._only(match[1])
            if path in self.settings and self.settings[path].structured:
                return _NamedKey((*path, match[2]), structured=False)
        return next(self._below_opaque(variable), None)

    def _only(self, variable: str) -> KeyPath | None:
        paths = self.exact.get(variable, [])
        return paths[0] if len(paths) == 1 else None

    def _structured(self, path: KeyPath) -> bool:
        return self.settings[path].structured if path in self.settings else True

    def _below_opaque(self, variable: str) -> Iterator[_NamedKey]:
        for name, path in self.opaque.items():
            rest = variable.removeprefix(f"{name}_")
            if rest not in (variable, ""):
                yield _NamedKey((*path, rest))

    def _is_of_no_upstream(self, variable: str) -> bool:
        """Whether it means a key of an upstream that the file does not name."""
        section = schema.environment_name((schema.UPSTREAMS,))
        named = [name for name, paths in self.exact.items() if any(path[:-1] == (schema.UPSTREAMS,) for path in paths)]
        return f"{variable}_".startswith(f"{section}_") and not any(variable.startswith(f"{name}_") for name in named)

    def unknown(self, variable: str) -> str:
        told = f"environment variable {variable} names no key"
        if self._is_of_no_upstream(variable):
            return f"{told}; give the upstream an entry under upstreams in the file first, if only ghcr.io: {{}}"
        # Compare without the prefix that all share: with it, any two short names would be similar.
        known = [name.removeprefix("REGISTRY_") for name in (*self.exact, *FILE_VARIABLES)]
        near = get_close_matches(variable.removeprefix("REGISTRY_")[:80], known, n=1, cutoff=0.8)
        return told + (f"; did you mean REGISTRY_{near[0]}?" if near else "")


def _apply(
    result: Overrides, variable: str, found: _NamedKey, environ: Mapping[str, str], problems: list[Problem]
) -> None:
    if found.in_file:
        if variable.removesuffix("_FILE") in environ:
            problems.append(Problem(variable, "given beside the variable without _FILE", "keep one of the two"))
        try:
            value: Raw = Scalar(read_secret_file(environ[variable]))
        except InvalidValue as error:
            problems.append(Problem(variable, error.what, error.remedy))
            return
        origin = f"file of {variable}"
    else:
        value = _value(environ[variable], variable, found, problems)
        origin = f"environment {variable}"
    result.tree = expand_short_forms(_put(result.tree, found.path, value))
    result.origins[found.path] = origin


def _value(text: str, variable: str, found: _NamedKey, problems: list[Problem]) -> Raw:
    if not found.structured:
        # Of a quoted text only what is in the quotes counts, as with Distribution; any other text counts as it is.
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        document = parse_yaml(text, variable, []) if quoted else None
        return document.tree if document and isinstance(document.tree, Scalar) else Scalar(text)
    document = parse_yaml(text, variable, problems) if text.strip() else None
    return document.tree if document else None


def _put(tree: Raw, path: KeyPath, value: Raw) -> Raw:
    """Do as raw.put does; a list takes an item by its index, and a header is replaced whatever the case of its name."""
    parent = _at(tree, path[:-1])
    if INDEX.fullmatch(path[-1]) and (parent is None or isinstance(parent, list)):
        items = list(parent or [])
        # An index beyond the end appends: nothing could fill the gap.
        items[int(path[-1]) : int(path[-1]) + 1] = [value]
        return put(tree, path[:-1], items)
    if path[:-1] == ("http", "headers") and isinstance(parent, dict):
        same = next((name for name in parent if name.lower() == path[-1].lower()), path[-1])
        path = (*path[:-1], same)
    return put(tree, path, value)


def _at(tree: Raw, path: KeyPath) -> Raw:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree
