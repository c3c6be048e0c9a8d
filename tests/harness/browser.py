"""A real browser: Debian's chromium, and what it saw of a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests.harness.components import require

# The three widths at which pages are looked at: a phone, a tablet, a desk.
PHONE, TABLET, DESK = 390, 820, 1360
# Each of them light and dark.
ALL_LOOKS = tuple((width, dark) for width in (PHONE, TABLET, DESK) for dark in (False, True))
HEIGHT = 900
# Of one step in the browser, on a busy machine.
STEP_MILLISECONDS = 20_000.0


@dataclass(slots=True)
class Visit:
    """A page that is open. ``complaints``: what the console said, and scripts that failed."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def origins(self) -> set[str]:
        """Everywhere that something was loaded from."""
        return {"/".join(url.split("/")[:3]) for url in self.requests}

    def text(self, selector: str = "body") -> str:
        return self.page.inner_text(selector)

    def pass_time(self, seconds: int) -> None:
        """Let the page's timers believe that so much time has passed."""
        self.page.clock.fast_forward(seconds * 1000)

    def bytes_loaded(self) -> int:
        """Bytes of all bodies, as they came."""
        entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        return int(self.page.evaluate(f"{entries}.reduce((sum, each) => sum + each.encodedBodySize, 0)"))

    def looks(self, *looks: tuple[int, bool]) -> Iterator[str]:
        """Show the page at each width, dark or light, one after the other, without loading it again; name each."""
        for width, dark in looks:
            self.page.set_viewport_size({"width": width, "height": HEIGHT})
            self.page.emulate_media(color_scheme="dark" if dark else "light")
            yield f"{width} px, {'dark' if dark else 'light'}"

    def axe_violations(self) -> list[str]:
        """What axe-core, of Deque, holds against the page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(_axe())
        found = self.page.evaluate("axe.run().then(found => found.violations)")
        return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@cache
def _axe() -> str:
    """axe-core itself; the package that holds it is only its wrapper, without types."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


class Chromium:
    """One running browser; each visit has a context of its own, without cookies or cache."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def visit(self, url: str, *, width: int = DESK, dark: bool = False, script: bool = True, **options: Any) -> Visit:
        """Open ``url`` and wait until all of it is there."""
        context = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            **options,
        )
        context.set_default_timeout(STEP_MILLISECONDS)
        self._contexts.append(context)
        visit = Visit(context.new_page())

        def complain(message: ConsoleMessage) -> None:
            visit.complaints.append(message.text)

        def note(request: Request) -> None:
            visit.requests.append(request.url)

        visit.page.on("console", complain)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("request", note)
        # Its timers go on when the test says so.
        visit.page.clock.install()
        visit.page.goto(url)
        return visit

    def leave(self) -> None:
        """Close all that was opened."""
        for context in self._contexts:
            context.close()
        self._contexts.clear()


@contextmanager
def running_chromium() -> Iterator[Chromium]:
    """A browser for as long as the block."""
    path = require("chromium")
    with sync_playwright() as playwright:
        # As root it has no sandbox; it sees nothing but our own pages.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield Chromium(browser)
        finally:
            browser.close()
