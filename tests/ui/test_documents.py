"""The documents behind the page's links."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache.ui import documents
from tests.harness.checkout import DOCS


def test_a_checkouts_documents_are_its_own() -> None:
    assert documents.read("reference.md") == (DOCS / "reference.md").read_bytes()
    assert documents.names() == sorted(path.name for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", ["../README.md", "adr", "pictures", "", "/etc/passwd", "reference"])
def test_nothing_else_is_a_document(name: str) -> None:
    assert documents.read(name) is None


def test_a_wheels_documents_are_below_its_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the package are the modules of others."""
    monkeypatch.setattr(documents, "_CHECKOUT", tmp_path / "site-packages")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    documents.names.cache_clear()
    try:
        assert documents.names() == []
        folder = tmp_path / "share" / "registry-cache" / "docs"
        folder.mkdir(parents=True)
        (folder / "auth.md").write_text("# Who may pull\n", encoding="utf-8")
        documents.names.cache_clear()
        assert (documents.names(), documents.read("auth.md")) == (["auth.md"], b"# Who may pull\n")
    finally:
        documents.names.cache_clear()
