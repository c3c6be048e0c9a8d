"""What code, tests and documents cite is there: protocol facts, byte-safety rules, decisions, pages, files, RFCs."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.documents import ROOT, anchors, name, texts

DOCS = ROOT / "docs"
NUMBERS = re.findall(r"^\| (P\d+) \|", (DOCS / "protocol-facts.md").read_text(encoding="utf-8"), re.MULTILINE)
FACTS = set(NUMBERS)
RULES = set(re.findall(r"^## Rule (\d+):", (DOCS / "byte-safety.md").read_text(encoding="utf-8"), re.MULTILINE))
DECISIONS = {page.name[:4] for page in (DOCS / "adr").glob("0*.md")}

PAGE = re.compile(r"\b((?:docs|bench|deploy)/[\w/.-]+\.md)(?:#([\w-]+))?")
FILE = re.compile(r"(?<![\w/.-])((?:tests|bench|deploy|tools|docs)/[\w/.-]*\w\.\w+)")
MODULE = re.compile(r"(?<![\w/.-])(registry_cache(?:\.\w+)+)(?![\w/(-])")
# In a document a module may be named from the package on: `store/partial_downloads.py`.
SHORT = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")


def cited(text: str, document: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every citation in ``text``, and whether what it names is there."""
    # A citation may be broken over two lines, of a comment too.
    text = re.sub(r"\s*\n[ \t]*(?:# )?[ \t]*", " ", text)
    for number in re.findall(r"\bP\d{1,3}\b", text):
        yield number, number in FACTS
    for number in re.findall(r"\b[Bb]yte-safety rule (\w+)", text):
        yield f"byte-safety rule {number}", number in RULES
    for number in re.findall(r"\b(?:ADR |adr/)(\d+)", text):
        yield f"ADR {number}", number in DECISIONS
    for number in re.findall(r"\bRFC(?=[ \d-])(.{0,5})", text):
        yield f"RFC{number}", re.fullmatch(r" \d{4}", number) is not None
    for path, anchor in PAGE.findall(text):
        page = ROOT / path
        yield f"{path}#{anchor}", page.exists() and (not anchor or anchor in anchors(page))
    for path in FILE.findall(text):
        yield path, (ROOT / path).exists()
    if document:
        for path in SHORT.findall(text):
            yield path, any((folder / path).exists() for folder in (ROOT, ROOT / "registry_cache"))
        for dotted in MODULE.findall(text):
            yield dotted, is_importable(dotted)


def is_importable(dotted: str) -> bool:
    """Tell whether a dotted name is a module, or something in one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, attribute = dotted.rpartition(".")
        return bool(module) and is_importable(module) and hasattr(importlib.import_module(module), attribute)
    return True


def test_no_number_belongs_to_two_facts() -> None:
    assert sorted(NUMBERS) == sorted(FACTS)


@pytest.mark.parametrize(("file", "text"), [pytest.param(*each, id=name(each[0])) for each in texts()])
def test_everything_that_is_cited_is_there(file: Path, text: str) -> None:
    if file != Path(__file__):
        assert [what for what, there in cited(text, file.suffix == ".md") if not there] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("# Asked by HEAD (P24, P33).", []),
        ("protocol facts P37-P45, P999", ["P999"]),
        ("P0: there is none", ["P0"]),
        ("(byte-safety rule 4)", []),
        ("Byte-safety rule 11", ["byte-safety rule 11"]),
        ("ADR 0004, and docs/adr/0099", ["ADR 0099"]),
        ("[ADR\n  0098](x)", ["ADR 0098"]),
        ("# see ADR\n# 0097", ["ADR 0097"]),
        ("docs/disk.md#pins explains it", []),
        ("docs/disk.md#nothing", ["docs/disk.md#nothing"]),
        ("docs/nowhere.md", ["docs/nowhere.md#", "docs/nowhere.md"]),
        ("as tests/test_house.py says", []),
        ("tests/test_nothing.py", ["tests/test_nothing.py"]),
        ("RFC 9110 §14", []),
        ("RFC9110", ["RFC9110"]),
        ("`store/partial_downloads.py`, `cli.py` and `store/nothing.py`", ["store/nothing.py"]),
        ("registry_cache.store.partial_downloads.Partial", []),
        ("registry_cache.store.nothing", ["registry_cache.store.nothing"]),
    ],
)
def test_a_wrong_citation_is_found(text: str, wrong: list[str]) -> None:
    assert [what for what, there in cited(text, document=True) if not there] == wrong
