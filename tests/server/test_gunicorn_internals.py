"""What is remembered of what gunicorn works out for each request, and what must not be."""

import io
import ipaddress
import sys
from collections.abc import Iterator
from unittest import mock

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import message, wsgi

from registry_cache.server import gunicorn_internals


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Config:
    """gunicorn's, in a process that remembers until the test ends."""
    for module, name in ((util, "http_date"), (message, "_ip_in_allow_list"), (wsgi, "WSGIErrorsWrapper")):
        monkeypatch.setattr(module, name, getattr(module, name))
    settings = Config()
    settings.set("forwarded_allow_ips", "10.0.0.0/8,::1")
    gunicorn_internals.install(settings)
    return settings


@pytest.fixture
def parsed() -> Iterator[mock.Mock]:
    """Called for each address that is parsed."""
    with mock.patch.object(message.ipaddress, "ip_address", side_effect=ipaddress.ip_address) as parse:
        yield parse


def believed(settings: Config, address: str) -> bool:
    allowed, networks = settings.forwarded_allow_ips, settings.forwarded_allow_networks()
    return bool(message._ip_in_allow_list(address, allowed, networks))


def test_whom_to_believe_is_found_out_once(settings: Config, parsed: mock.Mock) -> None:
    for _ in range(3):
        assert believed(settings, "10.1.2.3")
        assert not believed(settings, "11.1.2.3")

    assert parsed.call_count == 2


def test_another_list_is_another_answer(settings: Config) -> None:
    assert not message._ip_in_allow_list("10.1.2.3", ["::1"], [ipaddress.ip_network("::1")])

    assert believed(settings, "10.1.2.3")


def test_a_setting_is_no_call(settings: Config) -> None:
    with mock.patch.object(Config, "__getattr__") as looked_up:
        assert settings.forwarded_allow_ips == ["10.0.0.0/8", "::1"]
        assert settings.keepalive == 2

    assert not looked_up.called


def test_how_long_a_stop_takes_can_still_be_set(settings: Config) -> None:
    settings.set("graceful_timeout", 4321)

    assert settings.graceful_timeout == 4321


def test_a_date_is_written_once_a_second(settings: Config) -> None:
    assert util.http_date(784111777.25) is util.http_date(784111777.75)
    assert util.http_date(784111778) == "Sun, 06 Nov 1994 08:49:38 GMT"


def test_errors_go_where_the_log_is_now(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = wsgi.base_environ(settings)["wsgi.errors"]
    assert wsgi.base_environ(settings)["wsgi.errors"] is errors
    monkeypatch.setattr(sys, "stderr", opened_anew := io.StringIO())

    errors.write("disk full\n")

    assert opened_anew.getvalue() == "disk full\n"
