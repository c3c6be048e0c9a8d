"""The first page, as a person has it in a browser."""

from __future__ import annotations

import re

import pytest

from tests.harness.browser import ALL_LOOKS, Chromium
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.page_rig import debug_url, watched_cache
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

# A browser beside the newest dependencies is enough: it takes a second to start, and more to draw.
pytestmark = pytest.mark.needs_root
HASTY = "tests.harness.hasty_statistics:app"


def test_what_is_going_on(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, browser: Chromium
) -> None:
    cache = watched_cache(make_cache, {"storage": {"max_size": "1GB"}}, application=HASTY)
    upstream.faults.rate_limit = 10
    make_image(upstream, tag="1")
    puller = make_puller(cache.url)
    assert puller.manifest("1").status == 200
    blob = upstream.add_blob(random_bytes(4 * MiB))
    upstream.faults.hold_at = 2 * MiB
    pull = puller.start_blob(APP, blob)
    pull.wait_for(2 * MiB - 1)

    visit = browser.visit(f"{debug_url(cache)}/ui/")
    # What was read for somebody a moment ago is shown for a second, and what was counted is written meanwhile.
    shown = ("pulls left", "50 %", "on average", "1 reader ")
    eventually(lambda: visit.page.reload() and all(words in visit.text() for words in shown))

    assert visit.text("#says").startswith(f"Serving. {upstream.address}: 9 of 10 pulls left")
    assert "9 of 10" in visit.text("#boxes")
    answers = re.search(r"answers\s+in ([0-9]+) ms on average", visit.text("#upstreams"))
    assert answers
    assert int(answers[1]) < 5000
    transfers = visit.text("#transfers")
    assert f"{upstream.address}/{APP}" in transfers
    assert visit.page.locator(f"#transfers a[href$='/{APP}']").count() == 1
    assert "50 % · 2.0 MiB of 4.0 MiB · 1 reader · since" in transfers
    assert visit.page.locator("#transfers .fill").get_attribute("width") == "50"
    assert "storage.max_size" in (visit.page.text_content("footer") or "")
    assert visit.complaints == []
    upstream.faults.release()
    assert pull.finish().digest == blob


def test_everything_comes_from_here_and_nothing_complains(page_url: str, browser: Chromium) -> None:
    visit = browser.visit(page_url)

    assert visit.origins() == {page_url.removesuffix("/ui/")}
    assert visit.complaints == []
    assert visit.page.locator("[style]").count() == 0
    # Four answers: the page, its style, its script, its icon.
    assert visit.bytes_loaded() < 60_000


def test_it_is_for_all_eyes_and_screens(page_url: str, browser: Chromium) -> None:
    visit = browser.visit(page_url)
    for closed in visit.page.locator("summary").all():
        closed.click()

    for look in visit.looks(*ALL_LOOKS):
        assert visit.axe_violations() == [], look
        assert visit.overflow() <= 0, look
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(19, 21, 20)") is look.endswith("dark")


def test_it_works_without_script(page_url: str, browser: Chromium) -> None:
    visit = browser.visit(page_url, script=False)

    visit.page.click("summary:text-is('podman')")
    assert "[[registry.mirror]]" in visit.text("#setup")
    assert visit.page.locator(".copy").count() == 0


def test_the_keyboard_alone_reaches_everything(page_url: str, browser: Chromium) -> None:
    visit = browser.visit(page_url)
    reached = []
    for _ in range(40):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate("document.activeElement.textContent.trim().split('\\n')[0]"))
        if reached[-1] == "Configuration in force":
            break
    assert reached[0] == "Skip to content"
    assert {"docker", "containerd", "skopeo", "Configuration in force"} <= set(reached)

    # Every place where one is can be seen.
    assert visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    visit.page.keyboard.press("Enter")
    assert visit.page.locator("footer details").get_attribute("open") is not None


def test_lines_are_copied_by_a_button(page_url: str, browser: Chromium) -> None:
    visit = browser.visit(page_url, permissions=["clipboard-read", "clipboard-write"])
    visit.page.click("summary:text-is('k3s')")
    visit.page.locator("#setup details[open] .copy").first.click()
    visit.page.wait_for_selector("text=Copied")

    lines = visit.page.evaluate("navigator.clipboard.readText()")
    assert lines.startswith("mirrors:\n")


def test_numbers_stay_fresh_while_somebody_looks(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, browser: Chromium
) -> None:
    cache = watched_cache(make_cache)
    upstream.faults.rate_limit = 10
    make_image(upstream, tag="1")
    visit = browser.visit(f"{debug_url(cache)}/ui/")
    assert "pulls left" not in visit.text("#says")

    assert make_puller(cache.url).manifest("1").status == 200

    def is_fresh() -> bool:
        visit.pass_time(10)
        return "9 of 10 pulls left" in visit.text("#says")

    eventually(is_fresh)
    assert visit.complaints == []
