"""The documents of the repository, and the parts of them that tests look at."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "bench" / "README.md"]

FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TOPS = ("registry_cache", "tests", "bench", "deploy", "tools", "docs", ".ci")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to a page's headings."""
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(page))]
    return {heading.strip().replace(" ", "-") for heading in words}


def folders(top: str) -> set[str]:
    """Return ``top`` and the folders below it that hold files of ours."""
    found = {parent for file in (ROOT / top).rglob("*") if _is_ours(file) for parent in file.parents}
    return {name(folder) for folder in found if folder.is_relative_to(ROOT / top)}


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every text of the repository: code, tests, documents and what an operator copies."""
    loose = [file for file in sorted(ROOT.iterdir()) if file.is_file() and file.name not in {".git", "LICENSE"}]
    for file in [*loose, *(file for top in TOPS for file in sorted((ROOT / top).rglob("*")))]:
        # What the benchmark printed is large and cites nothing, and a picture is no text.
        if _is_ours(file) and file.parent.name != "results" and file.suffix != ".png":
            yield file, file.read_text(encoding="utf-8", errors="replace")


def _is_ours(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts
