"""Only ``server/gunicorn_internals.py`` may use what a dependency does not promise; here its neighbours are read.

Read from the source with ``ast``, as far as it tells where a name comes from: it keeps honest people honest.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.package_source import PACKAGE, imported, sources

# What may do so; all that it uses is in a list that is checked when it is imported.
INTERNALS = "server.gunicorn_internals"

# Names that look private, or replace another's, and are documented all the same; by the module that uses them.
DOCUMENTED = {
    # "If you need access to the underlying object": Werkzeug, "Context Locals".
    "api.access_log": {"_get_current_object"},
    # The logging HOWTO, "Optimization", sets all three.
    "runtime.log": {"_srcfile", "logThreads", "logMultiprocessing", "stderr"},
    "bucket.sender": {"_exit"},
    "server.settings": {"_exit"},
    # argparse: "error(message)"; parsers of gunicorn's are made of that class.
    "server.launcher": {"error"},
    # The only name of the type, for annotations.
    "upstream.encoded_blobs": {"_Decompress"},
    "commands.standard_streams": {"stdin", "stdout", "stderr"},
}
# typing.NamedTuple's methods.
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}

# Class of a dependency → what its reference says may be overridden. Sources: the API pages of each.
MAY_OVERRIDE = {
    "flask.Flask": {"session_interface", "create_url_adapter", "ensure_sync"},
    "flask.Response": {"get_wsgi_headers"},
    "flask.sessions.SessionInterface": {"open_session"},
    "werkzeug.routing.MapAdapter": {"match"},
    "prometheus_client.registry.Collector": {"collect"},
    "gevent.socket.socket": {"getsockname", "sendfile"},
    "gevent.pool.Pool": {"spawn"},
    "gevent.server.StreamServer": {"max_accept"},
    "gevent.Timeout": set[str](),
    "gevent.ssl.SSLSocket": set[str](),
    # "logger_class": a class that quacks like this one.
    "gunicorn.glogging.Logger": {"setup"},
    "requests.adapters.HTTPAdapter": {"init_poolmanager", "build_connection_pool_key_attributes", "proxy_manager_for"},
    "requests.Session": {"get_redirect_target"},
    "requests.cookies.RequestsCookieJar": {"extract_cookies", "add_cookie_header"},
    # ``_new_conn`` is no promise: ``upstream.network.pool`` checks it when it is imported, and refuses another urllib3.
    "urllib3.connection.HTTPConnection": {
        *("connect", "request", "getresponse", "is_connected", "response_class"),
        "_new_conn",
    },
    "urllib3.connection.HTTPSConnection": {"connect"},
}


def is_foreign(origin: str) -> bool:
    top = origin.partition(".")[0]
    return bool(top) and top not in (PACKAGE, "__future__")


def is_dependency(origin: str) -> bool:
    return is_foreign(origin) and origin.partition(".")[0] not in sys.stdlib_module_names


def root_of(node: ast.expr) -> str:
    """Return the name that an expression such as ``a.b[0].c()`` begins with; "" where it is no name."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def full_name(node: ast.expr, aliases: dict[str, str]) -> str:
    first, dot, rest = ast.unparse(node).partition("[")[0].partition(".")
    return aliases.get(first, "") + dot + rest


def own_names(tree: ast.AST) -> set[str]:
    """Return the names that a module itself gives to something."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def private_names(tree: ast.AST, ours: set[str]) -> Iterator[str]:
    """Yield the private names that a module reads or sets, and that nothing of ours has."""
    aliases = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            if is_foreign(aliases.get(root_of(node.value), "")) or node.attr not in ours:
                yield node.attr
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (
                target
                for _, target in imported(node)
                if is_foreign(target) and any(part.startswith("_") for part in target.split("."))
            )


def replaced_names(tree: ast.AST) -> Iterator[str]:
    """Yield what a module assigns to attributes of foreign modules and classes."""
    aliases = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_foreign(aliases.get(root_of(node.value), "")):
            yield from () if isinstance(node.ctx, ast.Load) else (node.attr,)


def overridden(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (class, name) of all that a module's classes override of a dependency's."""
    aliases = dict(imported(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for origin in filter(is_dependency, (full_name(base, aliases) for base in node.bases)):
                names = {name for each in node.body for name in assigned(each) if hasattr(load(origin), name)}
                yield from ((origin, name) for name in sorted(names) if not name.endswith("__"))


def assigned(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    for target in getattr(node, "targets", [getattr(node, "target", None)]):
        if isinstance(target, ast.Name):
            yield target.id


def load(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def modules() -> dict[str, ast.AST]:
    """Return the tree of every module that the rule is about, by dotted name without the package's."""
    trees = {name.removeprefix(f"{PACKAGE}."): ast.parse(source) for name, source in sources().items()}
    return {name: tree for name, tree in trees.items() if name != INTERNALS}


def test_nothing_private_of_a_dependency_is_used() -> None:
    ours = {name for source in sources().values() for name in own_names(ast.parse(source))}
    used = {name: {*private_names(tree, ours), *replaced_names(tree)} - NAMED_TUPLE for name, tree in modules().items()}
    assert {name: found for name, found in used.items() if found} == DOCUMENTED


def test_only_what_a_dependency_says_is_overridden() -> None:
    found = [(module, *each) for module, tree in modules().items() for each in overridden(tree)]
    assert [each for each in found if each[2] not in MAY_OVERRIDE.get(each[1], ())] == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("from gevent import hub\nhub._threadpool", "_threadpool"),
        ("import requests\ndef f(s: requests.Session):\n    return s._no_such_name_here", "_no_such_name_here"),
        ("from urllib3._collections import HTTPHeaderDict", "urllib3._collections.HTTPHeaderDict"),
        ("from gunicorn import util\nutil.http_date = None", "http_date"),
        ("from gunicorn.app.base import Application\nclass A(Application):\n    def chdir(self): ...", "chdir"),
    ],
)
def test_this_catches(source: str, told: str) -> None:
    tree = ast.parse(source)
    assert told in {*private_names(tree, set()), *replaced_names(tree), *(name for _, name in overridden(tree))}
