"""The source of the package, for tests that read it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from tests.harness.checkout import REPOSITORY

PACKAGE = "registry_cache"


@cache
def sources() -> dict[str, str]:
    """Return the source of every module of the package, by dotted name."""
    files = sorted((REPOSITORY / PACKAGE).rglob("*.py"))
    return {
        ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): file.read_text()
        for file in files
    }


def imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (name as the module knows it, dotted name that it stands for) of every import below ``tree``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((name.asname or name.name, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((name.asname or name.name, f"{origin}.{name.name}") for name in node.names)
