"""The import rule of the house, read from the source with ``ast``.

It sees import statements, wherever they stand, and calls by name. It does not see ``importlib.import_module`` or a file
opened through a method of some object: it keeps honest people honest.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

from tests.harness.package_source import PACKAGE, imported, sources

# Room → the rooms it may import beside itself; these are all the arrows there are.
MAY_IMPORT = {
    "api": {"pull", "auth", "stats", "oci", "errors", "runtime"},
    "pull": {"upstream", "policy", "store", "cluster", "oci", "errors", "runtime"},
    # What nodes tell each other; it knows what leases mean, and no disk.
    "cluster": {"policy", "errors", "runtime"},
    "upkeep": {"stats", "policy", "store", "oci", "errors", "runtime"},
    # It reads and writes its own files through the store.
    "stats": {"store", "oci", "errors", "runtime"},
    # These three never see each other.
    "upstream": {"oci", "errors", "runtime"},
    "policy": {"oci", "errors"},
    "bucket": {"policy", "store", "oci", "errors", "runtime"},
    "store": {"oci", "errors", "runtime"},
    "oci": {"errors"},
    "auth": {"errors", "runtime"},
    "config": {"auth", "oci", "errors", "runtime"},
    "deployment": {"oci", "errors"},
    # What it shows comes to it ready to be shown: nothing here opens the store.
    "ui": {"stats", "upkeep", "deployment", "errors", "runtime"},
    # The application is handed to it.
    "server": {"config", "errors", "runtime"},
    "runtime": {"oci", "errors"},
    "errors": set[str](),
}
# Composition roots import anything of ours, and no room imports them.
ROOTS = {"app", "cli", "commands", "wiring"}

# Within the store and pull: a part, and what it may not import although its room may.
MAY_NOT_IMPORT = {
    "pull": {"cluster"},
    "pull.cluster": set[str](),
    "pull.transfer": {"pull.uncached", "cluster"},
    "pull.uncached": {"pull.transfer", "cluster"},
    "store": {"store.audit", "store.interchange"},
    "store.audit": {"store.interchange"},
    "store.interchange": {"store.audit"},
}

# Foreign module → the only rooms, or modules, that may import it.
ONLY = {
    "flask": {"api", "app", "ui"},
    "boto3": {"bucket"},
    "botocore": {"bucket", "upstream.bucket_signing"},
    "werkzeug": {"api", "app"},
    "jinja2": {"ui"},
    "requests": {"upstream"},
    "urllib3": {"upstream"},
    "redis": {"cluster.redis_client"},
    "gunicorn": {"server"},
    "gevent": {"server", "runtime.threadpool"},
    "bcrypt": {"auth"},
    "prometheus_client": {"runtime", "server", "api"},
}
# Vocabulary and decisions are plain Python.
STANDARD_LIBRARY_ONLY = {"errors", "oci", "policy"}

# Files are the store's; these others touch their own: a configuration, what an operator names, a descriptor to send,
# a process's memory, what the kernel says about a process' priority, and the documents that the page shows.
OPEN_FILES = {"store", "auth", "config", "cli", "commands", "server", "upkeep.priority", "ui.documents"}
FILE_MODULES = {"fcntl", "shutil", "tempfile"}
FILE_CALLS = {
    "open",
    "io.open",
    *(f"os.{name}" for name in ("open", "fdopen", "truncate", "link", "symlink", "mkdir", "makedirs", "utime")),
    *(f"os.{name}" for name in ("rename", "renames", "replace", "remove", "unlink", "rmdir", "removedirs", "sendfile")),
}
# Methods that nothing but a pathlib.Path has.
FILE_METHODS = {"read_bytes", "read_text", "write_bytes", "write_text", "touch", "mkdir", "rmdir", "hardlink_to"}

# Installed by an extra: imported by a function that was asked for it, never by importing the application.
EXTRAS = {"redis", "boto3", "botocore"}

# Their names come from a line of a log, or go to another node, and never become a path; ``upstream`` has an Upstream.
HAVE_PLAIN_NAMES = {"stats", "runtime", "cluster", "upstream"}

# The command line starts in a blink and runs where nobody serves HTTP: importing it must not import these.
NOT_BEHIND_CLI = {"flask", "werkzeug", "boto3", "botocore"}


def room(module: str) -> str:
    """Return the room of a dotted name: ``store`` of ``registry_cache.store.blobs``; "" of the package itself."""
    return [*module.split("."), ""][1]


def part(module: str, of: Collection[str]) -> str | None:
    """Return the longest of the dotted names ``of`` that ``module`` is, or lies in; both without the package's name."""
    return max((name for name in of if f"{module}.".startswith(f"{name}.")), key=len, default=None)


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
    inner = module.removeprefix(f"{PACKAGE}.")
    opens_files = part(inner, OPEN_FILES) is not None
    found = []
    for _, target in imported(tree):
        top = target.split(".")[0]
        only = ONLY.get(top)
        if target.startswith("."):
            found.append(f"{module} imports {target}: write the whole name")
        elif top == PACKAGE:
            forbidden = not_seen(inner, target.removeprefix(f"{PACKAGE}."))
            if forbidden:
                found.append(f"{module} imports {target}: {here} may not see {forbidden}")
        elif only and part(inner, only) is None:
            found.append(f"{module} imports {target}: only {', '.join(sorted(only))} may")
        elif here in STANDARD_LIBRARY_ONLY and top not in sys.stdlib_module_names:
            found.append(f"{module} imports {target}: {here} is standard library only")
        elif top in FILE_MODULES and not opens_files:
            found.append(f"{module} imports {target}: only the store touches files")
    if not opens_files:
        for name in called(tree):
            if name in FILE_CALLS or ("." in name and name.rpartition(".")[2] in FILE_METHODS):
                found.append(f"{module} calls {name}: only the store touches files")
    return found


def not_seen(inner: str, target: str) -> str | None:
    """Return the room, or the part of a room, that ``inner`` may not import ``target`` from; None where it may."""
    here, there = inner.split(".")[0], target.split(".")[0]
    if here in ROOTS or there not in MAY_IMPORT.keys() | ROOTS:
        return None
    if here != there and there not in MAY_IMPORT[here]:
        return there
    return part(target, MAY_NOT_IMPORT.get(part(inner, MAY_NOT_IMPORT) or "", ()))


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


def public_classes() -> dict[str, list[tuple[str, bool]]]:
    """Return each public class's name, and of each that has it the module and whether it is a Protocol."""
    found = defaultdict(list)
    for module, source in sources().items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                protocol = any(ast.unparse(base).startswith("Protocol") for base in node.bases)
                found[node.name].append((module, protocol))
    return found


@pytest.mark.parametrize("module", sources())
def test_the_import_rule(module: str) -> None:
    assert violations(module, sources()[module]) == []


def test_at_most_four_modules_lie_loose() -> None:
    loose = {module.split(".")[1] for module in sources() if module.count(".") == 1}
    folders = {module.split(".")[1] for module in sources() if module.count(".") > 1}
    assert loose - folders <= {"app", "cli", "wiring", "errors"}


def test_a_public_class_name_means_one_thing() -> None:
    """Or two, where one is the Protocol of the other."""
    twice = {
        name
        for name, found in public_classes().items()
        if len(found) > 1 and not (len(found) == 2 and sum(protocol for _, protocol in found) == 1)
    }
    assert twice == set()


def test_a_repository_at_an_upstream_is_one_object() -> None:
    """Two texts apart can be swapped, and of two upstreams' repositories of one name one can be taken for the other."""
    apart = [
        f"{module}.{node.name}"
        for module, source in sources().items()
        if room(module) not in HAVE_PLAIN_NAMES
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and {"upstream", "repository"} <= {each.arg for each in node.args.args}
    ]
    assert apart == []


def test_a_server_without_a_bucket_imports_no_boto3() -> None:
    assert imports_behind(f"{PACKAGE}.app", sources()) & {"boto3", "botocore"} == set()


def test_importing_the_command_line_does_not_import_flask() -> None:
    assert imports_behind(f"{PACKAGE}.cli", sources()) & NOT_BEHIND_CLI == set()


@pytest.mark.parametrize("module", [f"{PACKAGE}.app", f"{PACKAGE}.server.settings", f"{PACKAGE}.server.worker"])
def test_serving_alone_imports_no_extra(module: str) -> None:
    assert imports_behind(module, sources()) & EXTRAS == set()


def test_no_command_needs_an_extra_before_it_runs() -> None:
    modules = sources()
    commands = [module for module in modules if room(module) == "commands"]
    assert [each for each in commands if imports_behind(each, modules) & EXTRAS] == []


@pytest.mark.parametrize(
    ("module", "source", "told"),
    [
        ("store.blobs", "def later():\n    from registry_cache.upstream.client import Client", "may not see upstream"),
        ("api.blobs", "from registry_cache import wiring", "may not see wiring"),
        ("pull.transfer.download", "from registry_cache.pull.uncached import body", "may not see pull.uncached"),
        ("attic.old", "x = 1", "no room"),
        ("pull.blob", "from ..store import blobs", "whole name"),
        ("runtime.log", "from gevent.event import Event", "only runtime.threadpool, server may"),
        ("oci.names", "import cachetools", "standard library only"),
        ("upkeep.verify", "from shutil import rmtree", "touches files"),
        ("pull.blob", "from os import unlink as drop\ndrop('x')", "calls os.unlink"),
        ("wiring", "from pathlib import Path\nPath('x').mkdir(parents=True)", "calls Path('x').mkdir"),
    ],
)
def test_the_rule_catches(module: str, source: str, told: str) -> None:
    [violation] = violations(f"{PACKAGE}.{module}", source)
    assert told in violation


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
