"""Check that names of a dependency which it does not promise are still there, and still used as we believe.

Knows no dependency itself: who uses such names has the list, as ``server/internal_names.py`` does.
"""

from __future__ import annotations

import importlib
import inspect
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from operator import attrgetter
from types import CodeType
from typing import Any

Find = Callable[[str], Any]


class DependencyChanged(ImportError):
    """An installed dependency is not what this package was written for; says which, and what to install."""


@dataclass(frozen=True, slots=True)
class Internal:
    """One name, as ``module:attribute`` or ``module:Class.attribute``, and what it is used for.

    ``parameters`` are a function's own, in order. ``used_in`` is a function whose code must mention the name, or
    ``mention`` in its place: as ``name`` is, or of the same class or module. ``instance``: objects have it, and their
    class need not.
    """

    name: str
    purpose: str
    parameters: tuple[str, ...] | None = None
    used_in: str | None = None
    mention: str | None = None
    instance: bool = False

    @property
    def user(self) -> str | None:
        """``used_in`` in full."""
        if self.used_in is None or ":" in self.used_in:
            return self.used_in
        module, _, attribute = self.name.partition(":")
        owner, dot, _ = attribute.rpartition(".")
        return f"{module}:{owner}{dot}{self.used_in}"


def find(name: str) -> Any:
    """Return what ``module:attribute`` names. Raises ImportError, AttributeError."""
    module, _, attribute = name.partition(":")
    return attrgetter(attribute)(importlib.import_module(module))


def check(internals: Iterable[Internal], find: Find = find) -> None:
    """Raise DependencyChanged for the first of ``internals`` that is not as it was."""
    for internal in internals:
        if problem := next(_problems(internal, find), None):
            raise DependencyChanged(_message(internal, problem))


def _problems(internal: Internal, find: Find) -> Iterator[str]:
    try:
        found = None if internal.instance else find(internal.name)
        user = find(internal.user) if internal.user else None
    except (ImportError, AttributeError) as error:
        yield f"{internal.name} is not what it was ({error})"
        return
    if internal.parameters not in (None, _parameters(found)):
        yield f"{internal.name} has other parameters"
    mention = internal.mention or internal.name.rpartition(".")[2].rpartition(":")[2]
    if user is not None and mention not in set(_mentioned(getattr(user, "__code__", None))):
        yield f"{internal.user} does not use {mention} any more"


def _parameters(found: Any) -> tuple[str, ...] | None:
    return tuple(inspect.signature(found).parameters) if callable(found) else None


def _mentioned(code: CodeType | None) -> Iterator[str]:
    """Yield the names and strings in a function's code, and in that of functions within it."""
    if code is None:
        return
    yield from (*code.co_names, *code.co_varnames)
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, tuple):
            yield from (each for each in constant if isinstance(each, str))
        elif isinstance(constant, CodeType):
            yield from _mentioned(constant)


def _message(internal: Internal, problem: str) -> str:
    package = internal.name.partition(":")[0].partition(".")[0]
    if package in sys.stdlib_module_names:
        allowed_python = metadata.metadata("registry-cache")["Requires-Python"]
        return (
            f"Python {platform.python_version()} does not fit this version of registry-cache: {problem}; we need it "
            f"for {internal.purpose}. Run it by a Python that setup.cfg allows: {allowed_python}"
        )
    allowed = [each for each in metadata.requires("registry-cache") or () if each.startswith(package)]
    return (
        f"{package} {metadata.version(package)} does not fit this version of registry-cache: {problem}; we need it "
        f"for {internal.purpose}. Install {', '.join(allowed)}, the versions that setup.cfg allows"
    )
