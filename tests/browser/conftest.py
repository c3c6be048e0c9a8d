"""The stories of this folder share one browser."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from registry_cache.runtime.event_queue import Change
from registry_cache.store.layout import Layout
from registry_cache.store.survey_file import Survey, SurveyFile
from tests.harness.browser import Chromium, running_chromium
from tests.harness.content import APP
from tests.harness.images import make_image
from tests.harness.month import GIB, IMAGES, write_month
from tests.harness.page_rig import DEBUG, debug_url
from tests.harness.pullers import Puller
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream


@pytest.fixture(scope="package")
def shared_browser() -> Iterator[Chromium]:
    """One for all: it takes a second to start."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def browser(shared_browser: Chromium) -> Iterator[Chromium]:
    """A browser with nothing open."""
    yield shared_browser
    shared_browser.leave()


@pytest.fixture(scope="package")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a cache that nobody has pulled from, for stories about the page alone."""
    folder = tmp_path_factory.mktemp("page")
    with running(FakeUpstream()) as upstream, running_cache(folder, upstream, config=DEBUG, workers=1) as cache:
        yield f"{debug_url(cache)}/ui/"


@pytest.fixture(scope="package")
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
        with running_cache(folder, default, config=config, workers=1) as cache, Puller(cache.url) as puller:
            assert puller.get(f"/v2/{APP}/manifests/1?ns=docker.io").status == 200
            yield f"{debug_url(cache)}/ui/"
