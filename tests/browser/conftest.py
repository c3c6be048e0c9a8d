"""The stories of this folder share one browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.browser import Chromium, running_chromium
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[Chromium]:
    """One for the module: it takes a second to start."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Chromium) -> Iterator[Chromium]:
    """A browser with nothing open."""
    yield shared_browser
    shared_browser.leave()


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a cache that nobody has pulled from, for stories about the page alone."""
    folder = tmp_path_factory.mktemp("page")
    with running(FakeUpstream()) as upstream, running_cache(folder, upstream, config=DEBUG) as cache:
        yield f"{debug_url(cache)}/ui/"
