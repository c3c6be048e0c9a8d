"""docs/configuration.md tells every key, its default and its variable; and no other."""

from __future__ import annotations

import re

from registry_cache.config import distribution, schema
from registry_cache.config.given import dotted
from registry_cache.config.raw import Scalar
from registry_cache.config.values import line
from tests.harness.checkout import DOCS

PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """A section's table: the first cell without its backquotes, to the others."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| `([^`|]+)`[^|]*\|(.+)\|$", section, re.MULTILINE)
    return {key: [cell.strip() for cell in rest.split(" | ")] for key, rest in found}


SETTINGS = {dotted(path): (path, setting) for path, setting in schema.settings_by_path(()).items()}
DOCUMENTED = rows("Keys") | rows("Keys of an upstream")


def test_every_key_and_no_other() -> None:
    assert set(DOCUMENTED) == set(SETTINGS)


def test_defaults() -> None:
    written = {key: cells[0].strip("`") for key, cells in DOCUMENTED.items() if cells[0].startswith("`")}

    assert written == {key: setting.default_text for key, (_, setting) in SETTINGS.items() if setting.default_text}


def test_variables() -> None:
    written = {key: cells[-1].strip("`") for key, cells in DOCUMENTED.items() if key != "version"}

    assert written == {key: schema.environment_name(path) for key, (path, _) in SETTINGS.items() if key != "version"}


def test_ignored_and_older_and_refused_keys() -> None:
    assert set(rows("Understood and without effect")) == set(distribution.IGNORED)
    assert rows("Older names") == {old: [f"`{setting.path}`"] for old, setting in schema.RENAMED.items()}
    refused = {key for key in distribution.REFUSED if not key.startswith("storage.")} | {"storage.azure"}
    assert refused <= set(re.findall(r"`([^`]+)`", PAGE.split("\n## Refused\n")[1]))
    assert all(f"`{key}`" in PAGE for key in distribution.QUIET)


def test_a_key_belongs_to_one_table() -> None:
    tables = [*SETTINGS, *distribution.IGNORED, *schema.RENAMED, *distribution.REFUSED, *distribution.QUIET]

    assert len(set(tables)) == len(tables)


def test_a_default_is_written_as_the_file_would_hold_it() -> None:
    for _, setting in SETTINGS.values():
        if setting.default_text:
            assert line(Scalar(setting.default_text)) == setting.default_text
