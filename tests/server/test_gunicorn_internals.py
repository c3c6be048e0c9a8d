"""What the dependencies do inside and we rely on: all of it is checked at the start, and does here what we believe."""

import ast
import io
import ipaddress
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import gevent
import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import message, wsgi
from gunicorn.workers.ggevent import GeventWorker
from prometheus_client import CollectorRegistry, Histogram

import registry_cache
from registry_cache.commands import serve
from registry_cache.runtime.dependency_check import DependencyChanged, Internal, check, find
from registry_cache.server.gunicorn_internals import Response, cache_per_request_work, observe_many, remember_settings
from registry_cache.server.internal_names import INTERNALS
from registry_cache.server.worker import Worker
from tests.harness.checkout import REPOSITORY

PACKAGE = Path(registry_cache.__file__).parent
# Too common to be recognized by name: our own classes have such, too.
COMMON = {
    "Response",
    "close",
    "handle",
    "headers",
    "read",
    "notify",
    "patch",
    "run",
    "sent",
    "version",
    "settings",
    "sockets",
    "write",
    "wsgi",
}


def internal_id(internal: Internal) -> str:
    return internal.name


@pytest.fixture(params=INTERNALS, ids=internal_id)
def internal(request: pytest.FixtureRequest) -> Internal:
    found: Internal = request.param
    return found


def refused(internal: Internal, changed: str | None, value: object) -> str:
    """Return how a start is refused when the dependency has ``value`` by the name ``changed``: None for nothing."""

    def find_changed(name: str) -> Any:
        if name != changed:
            return find(name)
        if value is None:
            raise AttributeError(f"no {name}")
        return value

    with pytest.raises(DependencyChanged) as caught:
        check([internal], find_changed)
    return str(caught.value)


def test_the_installed_versions_are_as_we_believe() -> None:
    check(INTERNALS)


def test_a_name_that_was_removed_is_told_with_the_version_and_the_remedy(internal: Internal) -> None:
    message = refused(internal, internal.user if internal.instance else internal.name, None)

    package = internal.name.partition(".")[0]
    assert f"{package} {metadata.version(package)} does not fit" in message
    assert internal.name in message
    assert internal.purpose in message
    assert f"Install {package}" in message


@pytest.mark.parametrize("internal", [each for each in INTERNALS if each.parameters], ids=internal_id)
def test_other_parameters_are_told(internal: Internal) -> None:
    assert "other parameters" in refused(internal, internal.name, lambda one_that_is_new: None)
    assert "other parameters" in refused(internal, internal.name, 1)


@pytest.mark.parametrize("internal", [each for each in INTERNALS if each.user], ids=internal_id)
def test_a_name_that_is_not_used_any_more_is_told(internal: Internal) -> None:
    if internal.user != internal.name:
        assert "does not use" in refused(internal, internal.user, lambda: None)


def test_what_python_has_changed_is_told_with_its_version() -> None:
    told = refused(
        Internal("http.client:HTTPResponse.begin", "heads", ("self",)), "http.client:HTTPResponse.begin", None
    )

    assert told.startswith(f"Python {platform.python_version()} does not fit this version of registry-cache: ")
    assert told.endswith("Run it by a Python that setup.cfg allows: >=3.11")


def test_each_is_checked_by_more_than_its_existence() -> None:
    assert [each.name for each in INTERNALS if not (each.parameters or each.user)] == []


def test_a_changed_dependency_stops_the_start_with_one_line() -> None:
    program = f"""
import sys
from gunicorn.arbiter import Arbiter
Arbiter.manage_workers = Arbiter.kill_worker
sys.argv = ["gunicorn", "-c", {serve.SETTINGS!r}, {serve.APPLICATION!r}]
from gunicorn.app.wsgiapp import run
run()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"gunicorn {metadata.version('gunicorn')} does not fit")
    assert "gunicorn.arbiter:Arbiter.manage_workers has other parameters" in line


def test_no_other_module_reads_them() -> None:
    names = {each.name.rpartition(".")[2].rpartition(":")[2] for each in INTERNALS} - COMMON
    for file in [file for room in ("server", "runtime", "api") for file in (PACKAGE / room).glob("*.py")]:
        if file.name != "gunicorn_internals.py":
            nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
            used = {node.attr for node in nodes if ast.unparse(node.value) != "self"}
            assert {name for name in used & names if not name.startswith("__")} == set(), file


def test_a_request_that_was_waited_for_is_answered_at_once() -> None:
    worker, connection = object.__new__(Worker), SimpleNamespace(has_waited=True)
    request = SimpleNamespace(method="GET", headers=[("HOST", "x")])

    with mock.patch.object(gevent, "sleep") as turn, mock.patch.object(GeventWorker, "handle_request") as handle:
        worker.handle_request(None, request, connection, None)
        assert not turn.called
        # Those that come without a pause let others have theirs between each two.
        worker.handle_request(None, request, connection, None)
        worker.handle_request(None, request, connection, None)

    assert turn.mock_calls == [mock.call(0)] * 2
    assert handle.call_count == 3


@pytest.fixture
def settings() -> Config:
    """gunicorn's, as attributes."""
    settings = Config()
    settings.set("forwarded_allow_ips", "10.0.0.0/8,::1")
    remember_settings(settings)
    return settings


def test_a_setting_is_no_call(settings: Config) -> None:
    with mock.patch.object(Config, "__getattr__") as looked_up:
        assert settings.forwarded_allow_ips == ["10.0.0.0/8", "::1"]
        assert settings.keepalive == 2

    assert not looked_up.called


def test_how_long_a_stop_takes_can_still_be_set(settings: Config) -> None:
    settings.set("graceful_timeout", 4321)

    assert settings.graceful_timeout == 4321


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that works out once what requests share, until the test ends."""
    for module, name in ((util, "http_date"), (message, "_ip_in_allow_list"), (wsgi, "WSGIErrorsWrapper")):
        monkeypatch.setattr(module, name, getattr(module, name))
    cache_per_request_work()


def believed(settings: Config, address: str) -> bool:
    allowed, networks = settings.forwarded_allow_ips, settings.forwarded_allow_networks()
    return bool(message._ip_in_allow_list(address, allowed, networks))


def test_which_peers_are_believed_is_found_out_once(settings: Config, cached: None) -> None:
    with mock.patch.object(message.ipaddress, "ip_address", side_effect=ipaddress.ip_address) as parse:
        for _ in range(3):
            assert believed(settings, "10.1.2.3")
            assert not believed(settings, "11.1.2.3")

    assert parse.call_count == 2


def test_another_list_is_another_answer(settings: Config, cached: None) -> None:
    assert not message._ip_in_allow_list("10.1.2.3", ["::1"], [ipaddress.ip_network("::1")])

    assert believed(settings, "10.1.2.3")


def test_a_date_is_written_once_a_second(cached: None) -> None:
    assert util.http_date(784111777.25) is util.http_date(784111777.75)
    assert util.http_date(784111778) == "Sun, 06 Nov 1994 08:49:38 GMT"


def test_errors_go_where_the_log_is_now(settings: Config, cached: None, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = wsgi.base_environ(settings)["wsgi.errors"]
    assert wsgi.base_environ(settings)["wsgi.errors"] is errors
    monkeypatch.setattr(sys, "stderr", opened_anew := io.StringIO())

    errors.write("disk full\n")

    assert opened_anew.getvalue() == "disk full\n"


def test_a_head_leaves_with_the_first_part_of_its_body(settings: Config) -> None:
    request = SimpleNamespace(version=(1, 1), method="GET", should_close=lambda: False)
    connection = mock.Mock(**{"send.side_effect": len})
    response = Response(request, connection, settings)

    response.start_response("200 OK", [("Content-Length", "4")])
    response.write(b"ab")
    response.write(b"cd")
    response.close()

    [head, rest] = [call.args[0] for call in connection.send.mock_calls]
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\nab")
    assert rest == b"cd"


@pytest.mark.parametrize("package", sorted({each.name.partition(".")[0] for each in INTERNALS}))
def test_a_package_whose_insides_we_use_has_an_upper_bound(package: str) -> None:
    setup = (REPOSITORY / "setup.cfg").read_text(encoding="utf-8")
    assert re.search(rf"^    {package}(\[[\w,]+\])? >= [\d.]+, < [\d.]+$", setup, re.MULTILINE)


def test_many_durations_at_once_count_as_each_by_itself() -> None:
    registry = CollectorRegistry()
    each, together = (Histogram(name, "?", registry=registry, buckets=(0.005, 1, 60)) for name in ("each", "together"))
    amounts = {0.0: 3, 0.005: 2, 0.006: 5, 60.0: 1, 61.0: 4}
    for amount, count in amounts.items():
        for _ in range(count):
            each.observe(amount)
    observe_many(together, amounts)

    def found(histogram: Histogram) -> list[tuple[str, str, float]]:
        [family] = histogram.collect()
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        return [(one.name.rpartition("_")[2], one.labels.get("le", ""), round(one.value, 9)) for one in samples]

    assert found(together) == found(each)
    assert ("count", "", 15.0) in found(together)
