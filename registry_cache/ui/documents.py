"""This version's documents, docs/*.md as they are: of a checkout, or of where the wheel puts them."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]
# As setup.cfg has it, below the prefix: a wheel's files beside the package are nobody's to read.
_SHARED = "share/registry-cache/docs"


@cache
def names() -> Sequence[str]:
    """Return the documents' names, none where the package came without them."""
    return sorted(path.name for path in _folder().glob("*.md"))


def read(name: str) -> bytes | None:
    """Return one of ``names``; None for any other, and where it is gone since."""
    with suppress(OSError):
        return (_folder() / name).read_bytes() if name in names() else None
    return None


def _folder() -> Path:
    if (_CHECKOUT / "setup.cfg").is_file():
        return _CHECKOUT / "docs"
    return Path(sysconfig.get_path("data")) / _SHARED
