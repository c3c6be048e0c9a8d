"""A restart under load, with a slow transfer under way: nobody is refused, and the transfer comes whole."""

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from registry_cache.server import systemd
from tests.harness.config_files import Loader
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, random_bytes
from tests.harness.server import STOP_SECONDS
from tests.harness.serving import SERVE, Command, Start
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import ended

SIZE, HELD_AT = 2 * MiB, 1 * MiB
CLIENTS = 8
# What a client waits for at most: as long as the slow transfer holds up the old server, and the start of the new one.
ANSWER_SECONDS = 60.0
# Requests that must have been answered before and after, so that there were some in between.
SOME = 40


class Crowd:
    """Clients that ask for `/v2/` again and again, each time by a new connection; use `with`."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self.answered = 0
        self.failures: list[str] = []
        self.longest_wait = 0.0

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        """Return when so many more requests were answered, or one has failed."""
        wanted = self.answered + more
        eventually(lambda: self.answered >= wanted or self.failures)

    def _ask(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            connection = http.client.HTTPConnection(self._address, timeout=ANSWER_SECONDS)
            try:
                connection.request("GET", "/v2/", headers={"Connection": "close"})
                assert connection.getresponse().status == 200
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
            finally:
                connection.close()
            self.longest_wait = max(self.longest_wait, time.monotonic() - began)


def test_who_comes_during_a_restart_waits_in_the_socket_that_systemd_holds(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache()
    blob = upstream.add_blob(random_bytes(SIZE, seed="restart"))
    upstream.faults.hold_at = HELD_AT
    pull = make_puller(cache.url).start_blob(APP, blob)
    pull.wait_for(HELD_AT - 1)

    with Crowd(cache.address) as crowd:
        crowd.wait_for(SOME)
        restart = threading.Thread(target=cache.restart)
        restart.start()
        eventually(lambda: "Handling signal: term" in cache.log_text())
        upstream.faults.gate.set()
        restart.join()
        crowd.wait_for(SOME)

    assert crowd.failures == []
    assert pull.finish().digest == blob


@pytest.fixture
def upgraded(upstream: FakeUpstream, start: Start, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """A function that starts `registry-cache serve` with `environment`; ends what USR2 made of it."""
    servers: list[Command] = []

    def begin(**environment: str) -> Command:
        store = {"filesystem": {"rootdirectory": str(tmp_path / "store")}}
        settings = {"http": {"addr": "127.0.0.1:0"}, "proxy": {"remoteurl": upstream.url}, "storage": store}
        servers.append(start(SERVE, settings, environment))
        return servers[-1]

    yield begin
    for master in {master for server in servers for master in server.masters()}:
        if not ended(master):
            os.kill(master, signal.SIGTERM)
            eventually(partial(ended, master))


def test_nobody_waits_for_a_new_master_that_takes_the_socket_over(
    upstream: FakeUpstream, upgraded: Callable[..., Command], make_puller: MakePuller
) -> None:
    server = upgraded()
    url = server.url()
    blob = upstream.add_blob(random_bytes(SIZE, seed="upgrade"))
    upstream.faults.hold_at = HELD_AT
    pull = make_puller(url).start_blob(APP, blob)
    pull.wait_for(HELD_AT - 1)

    with Crowd(url.partition("//")[2]) as crowd:
        crowd.wait_for(SOME)
        os.kill(server.process.pid, signal.SIGUSR2)
        eventually(lambda: len(server.masters()) == 2)
        server.process.terminate()
        eventually(lambda: "Handling signal: term" in server.printed())
        # The old master has no listener any more, and still a transfer.
        crowd.wait_for(SOME)
        assert server.process.poll() is None
        upstream.faults.gate.set()
        assert server.process.wait(STOP_SECONDS) == 0
        crowd.wait_for(SOME)

    assert crowd.failures == []
    assert pull.finish().digest == blob
    assert "Traceback" not in server.printed()


def test_under_systemd_the_new_master_takes_the_old_ones_place(
    upgraded: Callable[..., Command], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(ANSWER_SECONDS)
        server = upgraded(NOTIFY_SOCKET=str(tmp_path / "notify"))
        with Crowd(server.url().partition("//")[2]) as crowd:
            crowd.wait_for(SOME)
            os.kill(server.process.pid, signal.SIGUSR2)
            assert any(b"MAINPID=" in line for line in iter(partial(said, notified, server), b""))
            assert server.process.wait(STOP_SECONDS) == 0
            crowd.wait_for(SOME)

    assert crowd.failures == []
    assert not ended(server.masters()[1])


def said(notified: socket.socket, server: Command) -> bytes:
    """The next of what systemd is told, but for the number of the new main process, which is looked at here."""
    told = notified.recv(4096)
    if told.startswith(b"MAINPID="):
        assert int(told.split()[0].partition(b"=")[2]) == server.masters()[1]
    return told


def test_a_new_master_that_does_not_start_ends_nothing(
    upgraded: Callable[..., Command], make_puller: MakePuller, tmp_path: Path
) -> None:
    server = upgraded(NOTIFY_SOCKET=str(tmp_path / "nobody"))
    puller = make_puller(server.url())
    good = (tmp_path / "config.yml").read_text(encoding="utf-8")
    (tmp_path / "config.yml").write_text("sotrage: {}\n", encoding="utf-8")

    os.kill(server.process.pid, signal.SIGUSR2)
    eventually(lambda: "sotrage" in server.printed())
    assert puller.get("/v2/").status == 200

    (tmp_path / "config.yml").write_text(good, encoding="utf-8")
    eventually(lambda: again(server))
    assert server.process.wait(STOP_SECONDS) == 0
    assert puller.get("/v2/").status == 200


def again(server: Command) -> bool:
    """USR2 once more: until the first try is known to have failed it is ignored."""
    if len(server.masters()) < 2 and server.process.poll() is None:
        os.kill(server.process.pid, signal.SIGUSR2)
        time.sleep(0.5)  # nothing tells of a USR2 that is ignored
    return len(server.masters()) == 2


@pytest.mark.parametrize(
    ("addr", "addresses", "has_effect"),
    [
        (":5000", [("0.0.0.0", 5000)], True),  # noqa: S104
        ("localhost:5000", [("127.0.0.1", 5000)], True),
        (":443", [("0.0.0.0", 5000)], False),  # noqa: S104
        (":443", ["/run/registry-cache/http.sock"], False),
        ("/run/registry-cache/http.sock", ["/run/registry-cache/http.sock"], True),
        ("/run/registry-cache/http.sock", [("0.0.0.0", 5000)], False),  # noqa: S104
    ],
)
def test_an_address_that_systemd_does_not_listen_on_is_told(
    tmp_path: Path, addr: str, addresses: list[object], has_effect: bool
) -> None:
    net = "unix" if addr.startswith("/") else "tcp"
    config = Loader(tmp_path).load(REGISTRY_HTTP_ADDR=addr, REGISTRY_HTTP_NET=net)

    told = systemd.address_warning(config, addresses)

    assert (told is None) is has_effect
    assert has_effect or "ListenStream=" in str(told)
