"""Images and clients in the browser: found, listed, and each with a page of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from registry_cache.stats.calendar import day_of
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.journal import Entry
from registry_cache.store.layout import Layout
from registry_cache.store.survey_file import Survey, SurveyFile
from tests.harness.browser import DESK, PHONE, Chromium, Visit
from tests.harness.images import make_image
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.pullers import Puller
from tests.harness.running import running, running_cache
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.needs_root

MANY = 100_000
# Of a search among so many, the browser's own work included; on a machine with nothing else to do it takes a tenth.
SEARCH_SECONDS = 5.0
# What a person can act upon, in the page's order, without what is folded away.
ACTIVE = """
[...document.querySelectorAll('a[href], button, summary, input, select, [tabindex]')]
    .filter(each => each.checkVisibility() && each.tabIndex >= 0)
"""
FOCUSED = f"{ACTIVE}.indexOf(document.activeElement)"
OUTLINED = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
PAGES = ["images", "images?q=app", "images?by=missed", "images/NAME", "clients", "clients/127.0.0.1", "nothing"]


@dataclass(slots=True)
class Pulled:
    """A cache from which somebody has pulled library/app:1, and its page."""

    cache: CacheServer
    name: str
    url: str


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pulled]:
    folder = tmp_path_factory.mktemp("pulled")
    with running(FakeUpstream()) as upstream, running_cache(folder, upstream, config=DEBUG, workers=1) as cache:
        image = make_image(upstream, tag="1", layers=2)
        puller = Puller(cache.url)
        assert puller.manifest("1").status == 200
        assert [puller.blob(blob).status for blob in image.blobs] == [200] * len(image.blobs)
        puller.close()
        yield Pulled(cache, f"{upstream.address}/library/app", f"{debug_url(cache)}/ui/")


def survey(pulled: Pulled, names: list[str]) -> None:
    """Let this have been found in the store a moment ago, so that nobody looks again."""
    found = Survey(time.time(), 1000.0, len(names), len(names), 1, 1, time.time() - 9 * 86_400, 0)
    SurveyFile(Layout(pulled.cache.root)).write(found, names)


def note_pull(pulled: Pulled, client: str, tag: str) -> None:
    """Let a client have pulled it just now, as the journal of another day's piece tells it."""
    upstream, _, repository = pulled.name.partition("/")
    digest = f"sha256:{'a' * 64}"
    entry = Entry(time.time(), client, "ci", "GET", upstream, repository, tag, digest, "hit", 200, 500)
    files = StatisticsFiles(Layout(pulled.cache.root))
    piece = Path(files.journal_piece(day_of(time.time()), 9000 + len(client)))
    piece.parent.mkdir(parents=True, exist_ok=True)
    piece.write_bytes(entry.encode())


def test_an_image_is_found_and_told_of(pulled: Pulled, browser: Chromium) -> None:
    visit = browser.visit(f"{pulled.url}images")

    def is_found() -> bool:
        """Until somebody has looked through the store again."""
        visit.page.get_by_role("searchbox").fill("LIB")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_url("**/images?q=LIB")
        return pulled.name in visit.text("main")

    eventually(is_found)
    assert "1 repository with 1 tag, " in visit.text("main")
    visit.page.click(f"main a:text-is('{pulled.name}')")

    assert visit.text("h1") == pulled.name
    row = visit.text("tbody tr >> nth=0")
    assert "1" in row.split()
    assert "linux/amd64" in row
    assert f"registry-cache pin {pulled.name}" in visit.text("main")
    assert visit.complaints == []


def test_who_pulled_it_and_what_else_that_client_pulled(pulled: Pulled, browser: Chromium) -> None:
    note_pull(pulled, "10.0.0.7", "2")
    note_pull(pulled, "fd00::7", "<b>3</b>")

    visit = browser.visit(f"{pulled.url}images/{pulled.name}")
    assert "fd00::7" in visit.text("main")
    assert "<b>3</b>" in visit.text("main")
    visit.page.click("main a:text-is('10.0.0.7')")
    assert visit.text("h1") == "10.0.0.7"
    assert f"{pulled.name}:2" in visit.text("main")
    assert visit.axe_violations() == []
    visit.page.goto(f"{pulled.url}clients/fd00::7")
    visit.page.click(f"main a:text-is('{pulled.name}:<b>3</b>')")
    assert visit.text("h1") == pulled.name
    assert visit.complaints == []


def test_one_among_a_hundred_thousand(pulled: Pulled, browser: Chromium) -> None:
    names = [f"docker.io/team{number // 1000}/service-{number:06}" for number in range(MANY)]
    survey(pulled, [*names, pulled.name])
    visit = browser.visit(f"{pulled.url}images")
    assert "100,001 repositories" in visit.text("main")
    assert "next to go was used 9 d ago" in visit.text("main")

    began = time.monotonic()
    visit.page.goto(f"{pulled.url}images?q=service-0777")
    assert time.monotonic() - began < SEARCH_SECONDS
    rows = visit.page.locator(".found li a").all_inner_texts()
    assert rows[0] == "docker.io/team77/service-077700"
    assert len(rows) == 50
    assert "And 50 more" in visit.text("main")
    visit.page.goto(f"{pulled.url}images?q=service-099999")
    assert visit.page.locator(".found li a").all_inner_texts() == ["docker.io/team99/service-099999"]
    visit.page.goto(f"{pulled.url}images?q=e")
    assert "And more than 950 more" in visit.text("main")
    assert len(visit.page.content()) < 60_000

    # The first page is as it was.
    visit.page.goto(pulled.url)
    assert "next to go was used 9 d ago" in visit.text("#boxes")


@pytest.mark.parametrize("text", ["<script>window.broken = 1</script>", "'\"><img src=x>", "\u202e\x1b[2J", "a" * 3000])
def test_what_is_typed_stays_text(pulled: Pulled, browser: Chromium, text: str) -> None:
    visit = browser.visit(f"{pulled.url}images")
    visit.page.get_by_role("searchbox").evaluate("(box, text) => { box.value = text; box.form.submit(); }", text)
    visit.page.wait_for_url("**/images?q=*")
    assert visit.page.evaluate("window.broken") is None
    assert visit.page.locator("img").count() == 0
    assert visit.complaints == []


@pytest.mark.parametrize("path", ["images", "images?q=a", "images?by=missed", "clients", "clients/10.0.0.1", "nothing"])
def test_each_page_is_for_all_eyes(pulled: Pulled, browser: Chromium, path: str) -> None:
    visit = browser.visit(f"{pulled.url}{path}")
    for look in visit.looks((PHONE, True), (DESK, False)):
        assert visit.axe_violations() == [], look
        assert visit.overflow() <= 0, look


def test_an_image_s_page_is_for_all_eyes(pulled: Pulled, browser: Chromium) -> None:
    visit = browser.visit(f"{pulled.url}images/{pulled.name}")
    for look in visit.looks((PHONE, True), (DESK, False)):
        assert visit.axe_violations() == [], look
        assert visit.overflow() <= 0, look


def test_an_image_that_is_not_here(pulled: Pulled, browser: Chromium) -> None:
    """A list may name it long after its eviction, and leads to who pulled it all the same."""
    note_pull(replace(pulled, name="docker.io/library/evicted"), "192.168.100.7", "2")
    visit = browser.visit(f"{pulled.url}images/docker.io/library/evicted")
    assert "Nothing of this is stored now" in visit.text("main")
    assert "registry-cache check docker.io/library/evicted:2" in visit.text("main")
    assert visit.axe_violations() == []
    visit.page.click("main a:text-is('192.168.100.7')")
    assert "docker.io/library/evicted:2" in visit.text("main")


@pytest.mark.parametrize("page", PAGES)
def test_tab_reaches_all_there_is_in_its_order(pulled: Pulled, browser: Chromium, page: str) -> None:
    visit = browser.visit(pulled.url + page.replace("NAME", pulled.name))
    count = visit.page.evaluate(f"{ACTIVE}.length")
    reached = []
    for _ in range(count):
        visit.page.keyboard.press("Tab")
        reached.append(visit.page.evaluate(FOCUSED))
        assert visit.page.evaluate(OUTLINED), visit.page.evaluate("document.activeElement.outerHTML")
    assert reached == list(range(count))
    assert count >= 3


def go_to(visit: Visit, words: str) -> None:
    """Press Tab until something with these words has the focus, and then Enter."""
    for _ in range(visit.page.evaluate(f"{ACTIVE}.length")):
        visit.page.keyboard.press("Tab")
        if visit.page.evaluate("document.activeElement.textContent.trim()") == words:
            with visit.page.expect_navigation():
                visit.page.keyboard.press("Enter")
            return
    pytest.fail(f"no {words!r} on {visit.page.url}")


def test_from_the_overview_to_who_pulled_an_image(pulled: Pulled, browser: Chromium) -> None:
    survey(pulled, [pulled.name])
    note_pull(pulled, "10.0.0.7", "2")
    visit = browser.visit(pulled.url)
    go_to(visit, "Images")
    while visit.page.evaluate("document.activeElement.tagName") != "INPUT":
        visit.page.keyboard.press("Tab")
    visit.page.keyboard.type("app")
    visit.page.keyboard.press("Enter")
    visit.page.wait_for_url("**/images?q=app")
    go_to(visit, pulled.name)
    assert visit.text("h1") == pulled.name
    go_to(visit, "10.0.0.7")
    assert visit.text("h1") == "10.0.0.7"
    go_to(visit, "Overview")
    assert visit.page.url == pulled.url
