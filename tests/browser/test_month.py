"""The first page of a cache that has been busy for a month, and of one that strangers have tried to write into."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from registry_cache.runtime.event_queue import Change
from tests.harness.browser import ALL_LOOKS, Chromium
from tests.harness.month import GONE, IMAGES, write_month
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream

pytestmark = pytest.mark.needs_root

# What a tag, a name or an error may try.
HOSTILE = [
    "<script>window.broken = 1</script>",
    '"><img src=x onerror="window.broken = 1">',
    "javascript:window.broken=1",
    "' onmouseover='window.broken=1",
    "{{ 7 * 7 }}{% raw %}",
    "]]></style><svg onload=window.broken=1>",
    "//evil.example/x",
    "x" * 3000,
    "\u202egnp.exe\u2066\x1b[31m",
]


def test_each_number_leads_to_who_is_behind_it(busy_url: str, browser: Chromium) -> None:
    visit = browser.visit(busy_url)

    boxes = visit.page.locator(".box").all()
    assert [box.locator(".label").inner_text() for box in boxes] == [
        "Saved in 24 hours",
        "Pulls in 24 hours",
        "Counted pulls left",
        "Disk used",
    ]
    for box in boxes:
        box.click()
        visit.page.wait_for_load_state()
        # It is on this page, or on its own.
        target = visit.page.url.partition("#")[2]
        assert not target or visit.page.locator(f"#{target}").count() == 1
        if not target:
            assert visit.text("h1") == "Images"
            visit.page.go_back()
    assert IMAGES[0] in visit.text("#images")
    assert IMAGES[-1] in visit.text("#missed")
    assert visit.page.locator(f"#clients a[href='/ui/clients/{GONE}']").count() >= 1
    assert GONE in visit.text("#clients h3 + ul")
    assert "sha256:4f1c4f1c4f1c → sha256:9a079a079a07" in visit.text("#changes")
    assert "registry-cache pulls docker.io/library/nginx:1.27" in visit.text("#changes")
    assert visit.complaints == []


def test_a_day_and_a_month_without_script(busy_url: str, browser: Chromium) -> None:
    visit = browser.visit(busy_url, script=False)
    assert visit.text("#history h2") == "The last 24 hours"

    visit.page.click(".switch a:text-is('30 days')")
    assert visit.text("#history h2") == "The last 30 days"
    hits = visit.text("#history .key:has(.hit)")
    assert hits.startswith("hit ")
    assert hits.split(" ", 1)[1].endswith("iB")
    # What is drawn can be seen.
    drawn = visit.page.locator("path.hit").bounding_box()
    assert drawn is not None
    assert drawn["width"] > 500
    assert drawn["height"] > 20


def test_it_is_for_all_eyes_and_screens(busy_url: str, browser: Chromium) -> None:
    visit = browser.visit(f"{busy_url}?days=30")

    for look in visit.looks(*ALL_LOOKS):
        assert visit.axe_violations() == [], look
        assert visit.overflow() <= 0, look


def test_all_of_it_is_small(busy_url: str, browser: Chromium) -> None:
    assert browser.visit(busy_url).bytes_loaded() < 60_000


def test_what_strangers_wrote_stays_text(tmp_path: Path, browser: Chromium) -> None:
    now = time.time()
    changes = [
        Change(now - number, kind, text, text, text, text, text)
        for number, text in enumerate(HOSTILE)
        for kind in ("moved", "refused", "gone")
    ]
    write_month(tmp_path / "store", images=HOSTILE, clients=HOSTILE * 2, changes=changes[:12])
    with running(FakeUpstream()) as upstream:
        notes = tmp_path / "store" / "upstreams"
        notes.mkdir()
        down = {"down": {"since": now - 60, "cause": "".join(HOSTILE)}}
        (notes / f"{upstream.address}.json").write_text(json.dumps(down), encoding="utf-8")
        with running_cache(tmp_path, upstream, config=DEBUG, workers=1) as cache:
            url = debug_url(cache)
            visit = browser.visit(f"{url}/ui/")

            assert visit.complaints == []
            assert visit.origins() == {url}
            assert visit.page.evaluate("window.broken") is None
            assert visit.page.locator("img, iframe, object, body script, main style").count() == 0
            targets = visit.page.evaluate("[...document.querySelectorAll('[href]')].map(each => each.href)")
            assert {"/".join(target.split("/")[:3]) for target in targets} == {url}
            text = visit.text()
            assert "<script>window.broken" in text
            assert "{{ 7 * 7 }}" in text
            assert "x" * 400 not in text
            assert "\u202e" not in text
            assert visit.overflow() <= 0
            assert len(visit.page.content()) < 60_000
