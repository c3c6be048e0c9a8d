"""How the page looks: three widths, light and dark. With PICTURES naming a folder the pictures stay there.

PICTURES=docs/pictures python -m pytest tests/browser/test_pictures.py
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.browser import ALL_LOOKS, DESK, PHONE, TABLET, Chromium

pytestmark = pytest.mark.needs_root
# All of them together, so that a checkout stays small.
MOST_BYTES = 600_000


NAMES = {PHONE: "phone", TABLET: "tablet", DESK: "desk"}


def test_pictures(busy_url: str, browser: Chromium, tmp_path: Path) -> None:
    folder = Path(os.environ.get("PICTURES", tmp_path))
    visit, size = browser.visit(busy_url), 0
    for (width, dark), look in zip(ALL_LOOKS, visit.looks(*ALL_LOOKS), strict=True):
        file = folder / f"page-{NAMES[width]}-{'dark' if dark else 'light'}.png"
        # What a person sees first, and not the whole of it.
        # Without what is half way from one scheme's colours to the other's.
        visit.page.screenshot(
            path=str(file), clip={"x": 0, "y": 0, "width": width, "height": 1.4 * width}, animations="disabled"
        )

        size += file.stat().st_size
        assert visit.overflow() <= 0, look
    assert size < MOST_BYTES
    assert visit.complaints == []
