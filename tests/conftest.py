"""Fixtures of the whole suite; `tests/harness/__init__.py` shows how to use them."""

import gc
import ipaddress
import logging
import os
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from registry_cache.config import load
from registry_cache.store.layout import Layout
from tests.harness.cdn import FakeCdn
from tests.harness.cleanup_rig import Shelf
from tests.harness.fixture_types import MakeCache, MakePuller, MakeUpstream
from tests.harness.pullers import Puller
from tests.harness.running import running
from tests.harness.server import CacheServer
from tests.harness.store_rig import Store, open_store
from tests.harness.upstream import FakeUpstream

TESTS = Path(__file__).parent

# The same examples every time, so that a rare one does not stop an unrelated change; and no deadline for an example, as
# it would depend on how busy the machine is.
hypothesis.settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# Other examples in each run, to find what the steady ones miss.
hypothesis.settings.register_profile("searching", hypothesis.settings.get_profile("steady"), derandomize=False)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "once: as good in either of CI's passes; in the ordinary user's alone")
    config.addinivalue_line("markers", "late: as good in either of CI's passes; in root's alone")
    config.addinivalue_line("markers", "needs_root: mounts, owns files as others, or runs a program that only root may")
    if not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("steady")
    # A shell without job control starts background jobs with SIGINT ignored, and every program that a test starts and
    # interrupts would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.addaudithook(_loopback_only)
    # A mirror that this machine runs must not configure the tests.
    load.DEFAULT_FILE = f"{os.devnull}/none"


# What neither the user nor the dependencies' versions change: decisions and texts, long searches by property, outages,
# kills and power cuts at every step, and real clients and nginx that an ordinary user can run. .ci/run has them in the
# first of its two passes.
_ONCE = (
    *("bench/", "commands/", "config/", "harness_check/", "oci/", "policy/", "property/", "stats/", "ui/"),
    *("api/test_blob_requests.py", "api/test_layers_ahead.py", "api/test_lazy.py", "api/test_listings.py"),
    *("api/test_join.py", "api/test_membership.py", "api/test_metrics.py", "api/test_ranges.py", "api/test_room.py"),
    *("api/test_tags.py", "api/test_uncached.py", "api/test_unreadable.py"),
    *("cluster/test_bucket_turn.py", "cluster/test_peers_alone.py", "cluster/test_security.py"),
    *("faults/test_cuts.py", "faults/test_inside.py", "faults/test_lies.py"),
    *("faults/test_many_upstreams.py", "faults/test_outages.py", "faults/test_private.py"),
    *("faults/test_rate_limits.py", "server/test_log.py", "server/test_restart.py", "server/test_stop.py"),
    *("server/test_worker_death.py", "upstream/diagnose/", "upstream/test_slow_bodies.py", "upstream/test_wire.py"),
    "pull/lazy/",
    "pull/test_crash_points.py",
    "pull/test_power_cut.py",
    "upkeep/test_cleanup_crash.py",
    "upkeep/test_import_crash.py",
    "clients/",
    "deployment/nginx/",
)
# The same, in the second: what is said of the repository's own text; and long files, so that neither has much more.
_LATE = ("faults/test_hostile.py", "server/test_reload.py", "test_citations.py", "test_house.py", "test_tests.py")


# The file says so itself, so that it need not be imported: no conftest marks tests of such a file.
_NEEDS_ROOT = "needs_root"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file in CI's second pass of which the first has every test.

    Each process of a pass imports all that it is not told to ignore, and that is half of what is to be imported.
    """
    if config.getoption("markexpr") != "not once" or collection_path.suffix != ".py":
        return None
    is_once = collection_path.relative_to(TESTS).as_posix().startswith(_ONCE)
    return True if is_once and _NEEDS_ROOT not in collection_path.read_text(encoding="utf-8") else None


# Stories with many processes. Side by side, or last, they would wait for each other.
_HEAVY = ("browser/", "clients/", "cluster/", "deployment/setup/", "server/test_re", "server/test_st")
# Other files between two of them.
_BETWEEN = 3


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Spread the heavy files, and leave out what only root can run; `pytest_terminal_summary` says so."""
    for item in items:
        path = _path(item)
        if path.startswith(_ONCE) and not item.get_closest_marker("needs_root"):
            item.add_marker("once")
        if path.startswith(_LATE):
            item.add_marker("late")
    if os.geteuid() != 0:
        left_out = [item for item in items if item.get_closest_marker("needs_root")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
    places = _places(list(dict.fromkeys(map(_path, items))))
    items.sort(key=lambda item: places[_path(item)])


def _path(item: pytest.Item) -> str:
    """Its file, below this folder. Node ids are strings already; a path object for each would take half a second."""
    return item.nodeid.partition("::")[0].removeprefix("tests/")


def _places(files: list[str]) -> dict[str, float]:
    """Where each file comes: a heavy one, some others, a heavy one …"""
    heavy = [file for file in files if file.startswith(_HEAVY)]
    light = [file for file in files if not file.startswith(_HEAVY)]
    return {file: (_BETWEEN + 1) * place for place, file in enumerate(heavy)} | {
        file: place * (_BETWEEN + 1) / _BETWEEN + 0.5 for place, file in enumerate(light)
    }


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if os.geteuid() != 0:
        terminalreporter.write_line("left out: tests marked needs_root (real daemons, mounts); run them as root")


def _loopback_only(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse connections to other machines: a typo in a fixture must not pull from Docker Hub."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if host != "localhost" and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            raise ConnectionRefusedError(f"tests stay on this machine: {host}")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among thousands of tests, which all stay: each process of a run collects all of them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture
def upstreams() -> list[FakeUpstream]:
    """All fake upstreams of this test."""
    return []


@pytest.fixture
def make_upstream(upstreams: list[FakeUpstream]) -> Iterator[MakeUpstream]:
    """A function that starts a fake registry with no content and no faults."""
    with ExitStack() as stack:

        def make(*, tls: ssl.SSLContext | None = None) -> FakeUpstream:
            upstreams.append(stack.enter_context(running(FakeUpstream(tls))))
            return upstreams[-1]

        yield make


@pytest.fixture
def upstream(make_upstream: MakeUpstream) -> FakeUpstream:
    """A fake registry with no content and no faults."""
    return make_upstream()


@pytest.fixture
def cdn() -> Iterator[FakeCdn]:
    """A second host for `upstream.faults.redirect_blobs_to`."""
    with running(FakeCdn()) as server:
        yield server


@pytest.fixture
def make_cache(upstream: FakeUpstream, upstreams: list[FakeUpstream], tmp_path: Path) -> Iterator[MakeCache]:
    """A function that starts a cache in front of `upstream`; all are stopped at the end."""
    started: list[CacheServer] = []
    with ExitStack() as stack:

        def make(config: Mapping[str, Any] | None = None, *, url: str | None = None, **options: Any) -> CacheServer:
            folder = tmp_path / f"cache{len(started)}"
            started.append(CacheServer(folder, url or upstream.url, config=config, **options))
            stack.callback(started[-1].stop)
            return started[-1]

        yield make
        # A transfer that waits at a gate would keep its worker from stopping.
        for each in upstreams:
            each.faults.release()


@pytest.fixture
def cache(make_cache: MakeCache) -> CacheServer:
    """The product in front of `upstream`, with two workers and the default configuration."""
    return make_cache()


@pytest.fixture
def make_puller(make_cache: MakeCache) -> Iterator[MakePuller]:
    """A function that makes a client of the server at a URL. Clients disconnect before the caches are stopped."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(Puller(url))


@pytest.fixture
def puller(cache: CacheServer, make_puller: MakePuller) -> Puller:
    """A client of `cache`."""
    return make_puller(cache.url)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return open_store(tmp_path / "store")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """The folders of an empty store."""
    return Layout.open(tmp_path / "store")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A store that the test fills with images and whose times of last use it sets."""
    return Shelf(tmp_path / "store")


@pytest.fixture(autouse=True)
def keep_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command that runs in this process from lowering the priority of this process."""
    monkeypatch.setattr("registry_cache.commands.cleanup.step_back", lambda: None)


@pytest.fixture(scope="module", autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the logging of this process, which creating the application and some commands change."""
    logger = logging.getLogger("registry_cache")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before
