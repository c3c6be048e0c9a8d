"""Parse YAML into a tree of texts, and remember the line of each key. It knows YAML, but no key of ours.

Scalars stay as written: a password ``0123`` is four characters and no octal number, and whoever reads a key decides
what type it has, as Go does.
"""

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from registry_cache.config.problems import Problem

NULL = "tag:yaml.org,2002:null"
MERGE = "tag:yaml.org,2002:merge"

KeyPath: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written. Hidden from repr: it may be a password."""

    text: str = field(repr=False)


Raw: TypeAlias = "Scalar | dict[str, Raw] | list[Raw] | None"


@dataclass(slots=True)
class Document:
    """A parsed file: its tree, and the line on which each key stands."""

    tree: Raw
    lines: dict[KeyPath, int] = field(default_factory=dict)


def parse_yaml(text: str, name: str, problems: list[Problem]) -> Document | None:
    """Read one YAML document; None, and a problem under ``name``, when it is none or holds a key twice."""
    reader = _Reader(name, problems)
    before = len(problems)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        tree = None if node is None else reader.read(node, ())
    except yaml.YAMLError as error:
        if _has_tab(text, error):
            problems.append(Problem(name, "indented by a tab", "indent by spaces: YAML takes no tabs", _line(error)))
            return None
        remedy = "indent the keys of a section alike, and quote values that hold : # or begin with a special character"
        problems.append(Problem(name, f"not valid YAML: {_what(error)}", remedy, _line(error)))
        return None
    except RecursionError:
        problems.append(Problem(name, "nested too deeply", "no key needs more than five levels"))
        return None
    return Document(tree, reader.lines) if len(problems) == before else None


def means_something(raw: Raw) -> bool:
    """Whether anything in here is not empty, false or 0: what is switched off has no effect."""
    waiting: list[Raw] = [raw]
    # YAML aliases make a tree whose walk has no end, or takes 2^n steps, unless each part is visited once.
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, Scalar):
            if part.text.lower() not in ("", "false", "no", "off", "0", "0s"):
                return True
        elif part is not None and id(part) not in seen:
            seen.add(id(part))
            waiting.extend(part.values() if isinstance(part, dict) else part)
    return False


def put(tree: Raw, path: KeyPath, value: Raw) -> Raw:
    """Return the tree with ``value`` at ``path``; never changes the tree given, whose parts an alias may share.

    Where a scalar or a list stands in the way the tree is returned as it is, to be reported as a wrong type.
    """
    if not path:
        return value
    if tree is not None and not isinstance(tree, dict):
        return tree
    section = dict(tree or {})
    section[path[0]] = put(section.get(path[0]), path[1:], value)
    return section


class _Reader:
    """Nodes to Raw. Each node is read once, however many aliases name it."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name = name
        self.problems = problems
        self.lines: dict[KeyPath, int] = {}
        self.done: dict[int, Raw] = {}
        self.open: set[int] = set()

    def read(self, node: yaml.Node, path: KeyPath) -> Raw:
        if isinstance(node, yaml.ScalarNode):
            return None if node.tag == NULL else Scalar(node.value)
        if id(node) in self.open:
            self._wrong(path, "contains itself", "remove the alias", node)
            return None
        if id(node) not in self.done:
            self.open.add(id(node))
            self.done[id(node)] = self._container(node, path)
            self.open.discard(id(node))
        return self.done[id(node)]

    def _container(self, node: yaml.Node, path: KeyPath) -> Raw:
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, str(index))) for index, item in enumerate(node.value)]
        merged: dict[str, Raw] = {}
        explicit: dict[str, Raw] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                merged = self._merged(value, path) | merged
            elif not isinstance(key, yaml.ScalarNode):
                self._wrong(path, "has a key that is not text", "write one word before each colon", key)
            elif key.value in explicit:
                first = self.lines.get((*path, key.value), 0)
                self._wrong((*path, key.value), f"given twice, first on line {first}", "keep one of the two", key)
            else:
                self.lines[*path, key.value] = key.start_mark.line + 1
                explicit[key.value] = self.read(value, (*path, key.value))
        return merged | explicit

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Raw]:
        found = self.read(node, (*path, "<<"))
        parts = found if isinstance(found, list) else [found]
        merged: dict[str, Raw] = {}
        for part in parts:
            if isinstance(part, dict):
                merged = part | merged
            else:
                self._wrong(path, "merges (<<) something that is not a section", "merge only mappings", node)
        return merged

    def _wrong(self, path: KeyPath, what: str, remedy: str, node: yaml.Node) -> None:
        where = f"line {node.start_mark.line + 1}"
        self.problems.append(Problem(".".join(path) or self.name, what, remedy, where))


def _has_tab(text: str, error: yaml.YAMLError) -> bool:
    """Whether a tab stands before the words of the line where the parser gave up."""
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    return "\t" in line[: len(line) - len(line.lstrip())]


def _what(error: yaml.YAMLError) -> str:
    """Return the parser's message without its quotations, which may be part of a password."""
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", str(words))


def _line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return "" if mark is None else f"line {mark.line + 1}"
