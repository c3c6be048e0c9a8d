"""How the page looks: three widths, light and dark. With PICTURES naming a folder the pictures stay there.

PICTURES=docs/pictures python -m pytest tests/browser/test_pictures.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.runtime.tally import Change
from registry_cache.store.layout import Layout
from registry_cache.store.survey_file import Survey, SurveyFile
from tests.harness.browser import DESK, PHONE, TABLET, Chromium
from tests.harness.content import APP
from tests.harness.images import make_image
from tests.harness.month import GIB, IMAGES, write_month
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.pullers import Puller
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.needs_root
# All of them together, so that a checkout stays small.
MOST_BYTES = 600_000


@pytest.fixture(scope="module")
def busy_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cache with a month behind it, a limit, and something that needs a look."""
    folder = tmp_path_factory.mktemp("picture")
    now = time.time()
    old, new = f"sha256:{'4f1c' * 16}", f"sha256:{'9a07' * 16}"
    changes = [
        Change(now - 1260, "moved", "docker.io", "library/nginx", "1.27", old, new),
        Change(now - 5400, "stale", "ghcr.io", "acme/api", "main"),
    ]
    write_month(folder / "store", changes=changes)
    survey = Survey(now, 1000.0, len(IMAGES), 184, 2210, 31 * GIB, now - 9 * 86_400, 0)
    SurveyFile(Layout(folder / "store")).write(survey, IMAGES)
    with running(FakeUpstream()) as upstream, running(FakeUpstream()) as default:
        names = {name: {"remoteurl": upstream.url} for name in ("docker.io", "ghcr.io")}
        config = {**DEBUG, "storage": {"max_size": "50GiB"}, "upstreams": names}
        upstream.faults.rate_limit = 100
        make_image(upstream, tag="1")
        with running_cache(folder, default, config=config) as cache, Puller(cache.url) as puller:
            assert puller.get(f"/v2/{APP}/manifests/1?ns=docker.io").status == 200
            yield f"{debug_url(cache)}/ui/"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("name", "width"), [("phone", PHONE), ("tablet", TABLET), ("desk", DESK)])
def test_a_picture(busy_url: str, browser: Chromium, tmp_path: Path, name: str, width: int, dark: bool) -> None:
    folder = Path(os.environ.get("PICTURES", tmp_path))
    file = folder / f"page-{name}-{'dark' if dark else 'light'}.png"
    visit = browser.visit(busy_url, width=width, dark=dark)
    # What a person sees first, and not the whole of it.
    visit.page.screenshot(path=str(file), clip={"x": 0, "y": 0, "width": width, "height": 1.4 * width})

    assert file.stat().st_size < MOST_BYTES / 6
    assert visit.overflow() <= 0
    assert visit.complaints == []
