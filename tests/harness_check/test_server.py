"""CacheServer starts, kills and restarts processes; a small application replaces the product."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import server
from tests.harness.fixture_types import MakePuller
from tests.harness.server import CacheServer

STAND_IN = """
import os, sys, yaml
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        raise RuntimeError("as wanted")
    start_response("200 OK", [])
    config = open(os.environ["REGISTRY_CACHE_CONFIG"]).read()
    return [repr((os.getpid(), yaml.safe_load(config), sorted(os.environ))).encode()]
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CacheServer]:
    (tmp_path / "wsgi.py").write_text(STAND_IN)
    (tmp_path / "gunicorn.conf.py").write_text("control_socket_disable = True\nworker_class = 'gevent'\n")
    monkeypatch.setattr(server, "REPOSITORY", tmp_path)
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    config = {"proxy": {"ttl": "1h"}}
    cache = CacheServer(tmp_path / "cache", "http://127.0.0.1:9", config=config, environment={"EXTRA": "1"})
    yield cache
    cache.close()


def test_workers_die_and_come_back_and_the_port_stays(stand_in: CacheServer, make_puller: MakePuller) -> None:
    client = make_puller(stand_in.url)
    before = stand_in.workers()
    pid, config, environment = eval(client.get("/").body)  # noqa: S307 - our own repr
    assert pid in before
    assert stand_in.rss(pid) > 1_000_000
    assert config["proxy"] == {"remoteurl": "http://127.0.0.1:9", "ttl": "1h", **server.PATIENCE}
    assert "EXTRA" in environment
    assert "HTTP_PROXY" not in environment

    stand_in.kill_worker(pid)
    assert client.get("/").status == 200
    assert pid not in stand_in.workers()

    stand_in.kill_all()
    for each in before:
        stat = Path(f"/proc/{each}/stat")
        assert not stat.exists() or ") Z " in stat.read_text()
    stand_in.restart()
    assert client.get("/").status == 200
    stand_in.restart()
    assert client.get("/").status == 200
    stand_in.stop()
    with pytest.raises(ConnectionRefusedError):
        client.get("/")


def test_a_traceback_in_the_log_fails_the_test(stand_in: CacheServer, make_puller: MakePuller) -> None:
    make_puller(stand_in.url).get("/fail")
    with pytest.raises(AssertionError, match="as wanted"):
        stand_in.stop()


def test_a_server_that_ended_by_itself_fails_the_test(stand_in: CacheServer, tmp_path: Path) -> None:
    stand_in.kill_all()
    (tmp_path / "wsgi.py").write_text("raise SystemExit(3)")
    stand_in.restart()
    with pytest.raises(AssertionError):
        stand_in.stop()
