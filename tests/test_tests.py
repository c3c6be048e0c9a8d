"""How the tests are laid out: the folders are the package's, and no test module imports another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.checkout import REPOSITORY

TESTS = REPOSITORY / "tests"
PACKAGE = REPOSITORY / "registry_cache"
# Folders that are about the whole product, or about what lies beside it.
CROSS_CUTTING = {"bench", "browser", "clients", "cluster", "contract", "faults", "harness", "harness_check", "property"}
# The product behind nginx and on a Debian: what deploy/ ships has more tests than the package has modules.
OF_DEPLOYMENT = {"deployment/nginx", "deployment/setup"}
# Several caches over real components, a folder for each.
OF_CLUSTER = {"cluster/bucket"}


def imported(source: str) -> Iterator[str]:
    """Yield the dotted name of every module or name that `source` imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def is_test_module(name: str) -> bool:
    return name.startswith("test_") or name == "conftest"


def from_test_modules(source: str) -> list[str]:
    """Return what `source` imports from a test module or a conftest."""
    parts = [name.split(".") for name in imported(source)]
    return [".".join(part) for part in parts if part[0] == "tests" and any(map(is_test_module, part[1:]))]


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: str(file.relative_to(TESTS)))
def test_what_tests_share_is_in_the_harness(file: Path) -> None:
    assert from_test_modules(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from tests.pull.test_manifest import DATA", ["tests.pull.test_manifest.DATA"]),
        ("def later():\n    from tests.faults import conftest", ["tests.faults.conftest"]),
        ("import tests.conftest", ["tests.conftest"]),
        ("from tests.harness.content import APP\nimport pytest", []),
    ],
)
def test_an_import_of_a_test_module_is_found(source: str, found: list[str]) -> None:
    assert from_test_modules(source) == found


def test_a_folder_of_tests_is_a_package_of_the_product() -> None:
    folders = {str(file.parent.relative_to(TESTS)) for file in TESTS.rglob("test_*.py")} - {"."}
    packages = {str(file.parent.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py")}

    assert folders - packages - CROSS_CUTTING - OF_DEPLOYMENT - OF_CLUSTER == set()


def test_what_needs_root_is_marked_where_it_stands() -> None:
    """CI's second pass looks for the word in a file of the first's (tests/conftest.py)."""
    marking = {file.parent.name for file in TESTS.rglob("*/conftest.py") if "needs_root" in file.read_text("utf-8")}

    assert marking == {"bucket"}
