"""The import rule of the house, read from the source with ``ast``.

It sees import statements, wherever they stand, and calls by name. It does not see ``importlib.import_module`` or a file
opened through a method of some object: it keeps honest people honest.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PACKAGE = "registry_cache"

# Room → the rooms it may import beside itself; these are all the arrows there are.
MAY_IMPORT = {
    "api": {"pull", "auth", "oci", "errors", "runtime"},
    "pull": {"upstream", "policy", "store", "oci", "errors", "runtime"},
    "upkeep": {"policy", "store", "oci", "errors", "runtime"},
    # These three never see each other.
    "upstream": {"oci", "errors", "runtime"},
    "policy": {"oci", "errors"},
    "store": {"oci", "errors", "runtime"},
    "oci": {"errors"},
    "auth": {"errors", "runtime"},
    "config": {"auth", "oci", "errors", "runtime"},
    "deployment": {"oci", "errors"},
    # The application is handed to it.
    "server": {"config", "errors", "runtime"},
    "runtime": {"oci", "errors"},
    "errors": set[str](),
}
# Composition roots import anything of ours, and no room imports them.
ROOTS = {"app", "cli", "commands", "wiring"}

# Foreign module → the only rooms that may import it.
ONLY = {
    "flask": {"api", "app"},
    "werkzeug": {"api", "app"},
    "requests": {"upstream"},
    "urllib3": {"upstream"},
    "gunicorn": {"server"},
    "gevent": {"server", "runtime"},
    "bcrypt": {"auth"},
    "prometheus_client": {"runtime", "server", "api"},
}
# Vocabulary and decisions are plain Python.
STANDARD_LIBRARY_ONLY = {"errors", "oci", "policy"}

# Files are the store's; these others touch their own: a configuration, what an operator names, a descriptor to send,
# a process's memory and priority.
OPEN_FILES = {"store", "auth", "config", "cli", "commands", "server"}
FILE_MODULES = {"fcntl", "shutil", "tempfile"}
FILE_CALLS = {
    "open",
    "io.open",
    *(f"os.{name}" for name in ("open", "fdopen", "truncate", "link", "symlink", "mkdir", "makedirs", "utime")),
    *(f"os.{name}" for name in ("rename", "renames", "replace", "remove", "unlink", "rmdir", "removedirs", "sendfile")),
}
# Methods that nothing but a pathlib.Path has.
FILE_METHODS = {"read_bytes", "read_text", "write_bytes", "write_text", "touch", "mkdir", "rmdir", "hardlink_to"}

# The command line starts in a blink and runs where nobody serves HTTP: importing it must not import these.
NOT_BEHIND_CLI = {"flask", "werkzeug"}


def sources() -> dict[str, str]:
    """Return the source of every module of the package, by dotted name."""
    root = Path(__file__).parent.parent
    files = sorted((root / PACKAGE).rglob("*.py"))
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


def room(module: str) -> str:
    """Return the room of a dotted name: ``store`` of ``registry_cache.store.blobs``; "" of the package itself."""
    return [*module.split("."), ""][1]


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name as the module knows it, dotted name that it stands for) of every import below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.asname or name.name, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((name.asname or name.name, f"{origin}.{name.name}") for name in node.names)


def called(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of every call below ``tree``, imports' aliases resolved."""
    aliases = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            yield aliases.get(first, first) + dot + rest


def violations(module: str, source: str) -> list[str]:
    """Return what ``module`` imports or calls against the rule."""
    here, tree = room(module), ast.parse(source)
    if here and here not in MAY_IMPORT and here not in ROOTS:
        return [f"{module} is in no room of the rule: add a row to {Path(__file__).name}"]
    found = []
    for _, target in imported(tree):
        top, there = target.split(".")[0], room(target)
        if target.startswith("."):
            found.append(f"{module} imports {target}: write the whole name")
        elif top == PACKAGE:
            known = there in MAY_IMPORT or there in ROOTS
            allowed = here in ROOTS or there == here or there in MAY_IMPORT.get(here, set())
            if known and not allowed:
                found.append(f"{module} imports {target}: {here} may not see {there}")
        elif here not in ONLY.get(top, {here}):
            found.append(f"{module} imports {target}: only {', '.join(sorted(ONLY[top]))} may")
        elif here in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
            found.append(f"{module} imports {target}: {here} is standard library only")
        elif here not in OPEN_FILES and top in FILE_MODULES:
            found.append(f"{module} imports {target}: only the store touches files")
    if here not in OPEN_FILES:
        for name in called(tree):
            if name in FILE_CALLS or ("." in name and name.rpartition(".")[2] in FILE_METHODS):
                found.append(f"{module} calls {name}: only the store touches files")
    return found


def at_module_level(source: str) -> Iterator[str]:
    """Yield the dotted names that importing the module imports; what a function imports when called is left out."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (target for _, target in imported(node))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending.extend(ast.iter_child_nodes(node))


def imports_behind(module: str, modules: Mapping[str, str]) -> set[str]:
    """Return the top-level names of everything foreign that is imported as soon as ``module`` is."""
    foreign: set[str] = set()
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if not name.startswith(PACKAGE):
            foreign.add(name.split(".")[0])
        elif name not in seen:
            seen.add(name)
            # A package's __init__ runs before its modules; a name that is no module is something inside of one.
            pending.append(name.rpartition(".")[0] or name)
            pending.extend(at_module_level(modules.get(name, "")))
    return foreign


@pytest.mark.parametrize("module", sources())
def test_the_import_rule(module: str) -> None:
    assert violations(module, sources()[module]) == []


def test_importing_the_command_line_does_not_import_flask() -> None:
    assert imports_behind(f"{PACKAGE}.cli", sources()) & NOT_BEHIND_CLI == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("store.blobs", "from registry_cache.upstream.client import Client"),
        ("store.blobs", "from registry_cache import policy"),
        ("store.blobs", "import registry_cache.pull.blob as blob"),
        ("store.blobs", "def later():\n    from registry_cache.config import Config"),
        ("store", "if TYPE_CHECKING:\n    from registry_cache.upstream import client"),
        ("upstream.auth", "from registry_cache.store import disk"),
        ("policy.eviction", "from registry_cache.store import disk"),
        ("pull.blob", "from registry_cache.api import responses"),
        ("pull.blob", "from registry_cache.upkeep import cleanup"),
        ("upkeep.cleanup", "from registry_cache.upstream import client"),
        ("upkeep.cleanup", "from registry_cache.pull import blob"),
        ("api.blobs", "from registry_cache.store import blobs"),
        ("api.blobs", "from registry_cache.wiring import build"),
        ("api.blobs", "from registry_cache import config"),
        ("oci.names", "from registry_cache.runtime.log import Log"),
        ("errors", "from registry_cache.oci.digest import Digest"),
        ("native", "from registry_cache.store import blobs"),
        ("pull.blob", "from . import follow"),
        ("pull.blob", "from ..store import blobs"),
        ("attic.old", "x = 1"),
        ("pull.blob", "import flask"),
        ("cli", "def serve():\n    from flask import Flask"),
        ("upstream.client", "from werkzeug.http import parse_dict_header"),
        ("pull.blob", "import requests.exceptions as r"),
        ("store.blobs", "from urllib3.util import Retry"),
        ("pull.follow", "from gevent.event import Event"),
        ("errors", "import yaml"),
        ("oci.names", "import cachetools"),
        ("pull.blob", "import fcntl"),
        ("upkeep.verify", "from shutil import rmtree"),
        ("pull.blob", "with open('x') as file: pass"),
        ("pull.blob", "import os\nos.open('x', os.O_RDONLY)"),
        ("pull.blob", "import os as o\no.replace('x', 'y')"),
        ("pull.blob", "from os import unlink as drop\ndrop('x')"),
        ("wiring", "from pathlib import Path\nPath('x').mkdir(parents=True)"),
        ("api.ops", "(root / 'pins.json').write_text('{}')"),
    ],
)
def test_the_rule_catches(module: str, source: str) -> None:
    assert len(violations(f"{PACKAGE}.{module}", source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("", "__version__ = '1'"),
        ("pull.blob", "from registry_cache.upstream.client import Client\nfrom registry_cache.pull import follow"),
        ("pull.blob", "from registry_cache import __version__, errors, runtime, store"),
        ("pull.blob", "'a'.replace('b', 'c'); store.open(digest); os.fstat(fd)"),
        ("store.blobs", "import fcntl, os\nfrom registry_cache.runtime import threadpool\nos.open('x', os.O_RDONLY)"),
        ("wiring", "from registry_cache import api, config, pull, store, upkeep, upstream"),
        ("app", "import flask, werkzeug.routing\nfrom registry_cache.api import hooks"),
        ("upstream.errors", "import requests, urllib3.exceptions"),
        ("server.worker", "from gevent import pool\nfrom gunicorn.workers.ggevent import GeventWorker"),
        ("config", "import yaml\nopen('config.yaml')"),
    ],
)
def test_the_rule_lets_pass(module: str, source: str) -> None:
    assert violations(f"{PACKAGE}.{module}".rstrip("."), source) == []


@pytest.mark.parametrize(
    ("cli", "app", "expected"),
    [
        ("import os", "import flask", {"os"}),
        ("def serve():\n    from registry_cache.app import create_app", "import flask", set()),
        ("from registry_cache.app import create_app", "import flask", {"flask"}),
        ("from registry_cache import app", "class A:\n    import flask", {"flask"}),
        ("try:\n    import registry_cache.app\nexcept ImportError:\n    pass", "from flask import Flask", {"flask"}),
    ],
)
def test_what_is_behind_an_import(cli: str, app: str, expected: set[str]) -> None:
    assert imports_behind(f"{PACKAGE}.cli", {f"{PACKAGE}.cli": cli, f"{PACKAGE}.app": app}) == expected
