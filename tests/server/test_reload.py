"""HUP: new workers with the configuration of now, the old ones to the end of their last transfer, and nobody cut."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from registry_cache.server import memory_guard
from tests.harness.checkout import REPOSITORY
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, random_bytes
from tests.harness.ports import free_ports
from tests.harness.server import STOP_SECONDS, CacheServer
from tests.harness.serving import GUNICORN, SERVE, Command, Start
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers, ended, stat

RELOADS = 10
PULLS_EACH = 5
SIZE, HELD_AT = 2 * MiB, 1 * MiB
# Of a stop, and how long gunicorn's master waits at each reload: far less than what the transfers below take.
GRACE = {"server": {"graceful_timeout": "1s"}}
REFUSED = "error not reloaded: the configuration before stays in force"
RELOADED = "info reloaded"


class Master:
    """gunicorn's own process of a cache that runs; known before its workers come and go."""

    def __init__(self, cache: CacheServer) -> None:
        self._cache = cache
        self._pid = int(stat(cache.workers()[0])[1])

    def reload(self) -> None:
        """HUP; returns when the log says that the configuration is taken over."""
        before = self._cache.log_text().count(RELOADED)
        os.kill(self._pid, signal.SIGHUP)
        eventually(lambda: self._cache.log_text().count(RELOADED) > before)


def test_ten_reloads_during_fifty_pulls(upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller) -> None:
    # One worker at a time: those of ten reloads go on beside it.
    cache = make_cache(GRACE, workers=1)
    master = Master(cache)
    puller = make_puller(cache.url)
    blobs = [upstream.add_blob(random_bytes(SIZE, seed=f"reload {number}")) for number in range(RELOADS)]
    upstream.faults.hold_at = HELD_AT

    pulls = []
    for number, blob in enumerate(blobs):
        # Some begin a download, some join one that a worker of before the last reload goes on with.
        for wanted in [blob, blob, blob, blobs[number - 1], blobs[number - 1]] if number else [blob] * PULLS_EACH:
            pulls.append((wanted, puller.start_blob(APP, wanted)))
            pulls[-1][1].wait_for(HELD_AT - 1)
        master.reload()
    upstream.faults.gate.set()

    assert len(pulls) == RELOADS * PULLS_EACH
    assert [pull.finish().digest for _, pull in pulls] == [wanted for wanted, _ in pulls]
    assert [upstream.bytes_sent(blob) for blob in blobs] == [SIZE] * RELOADS


def test_a_worker_that_was_replaced_ends_after_its_last_download(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache(GRACE)
    master = Master(cache)
    puller, workers = make_puller(cache.url), Workers(cache)
    blob = upstream.add_blob(random_bytes(2 * SIZE, seed="handed over"))
    upstream.faults.hold_at = HELD_AT
    with workers.only(workers.first):
        first = puller.start_blob(APP, blob)
        first.wait_for(HELD_AT - 1)
    master.reload()
    eventually(partial(ended, workers.second))
    eventually(lambda: len(cache.workers()) == 3)
    new, _ = set(cache.workers()) - {workers.first}
    with workers.only(new):
        follower = puller.start_blob(APP, blob)
        follower.wait_for(HELD_AT - 1)

    # Slow enough that the worker sees that it has nobody left to serve.
    upstream.faults.rate = 1 * MiB
    upstream.faults.gate.set()
    first.close()

    assert follower.finish().digest == blob
    assert (upstream.gets(blob), upstream.bytes_sent(blob)) == (1, 2 * SIZE)
    eventually(partial(ended, workers.first))


def test_new_workers_that_die_are_replaced_while_old_ones_finish(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache(GRACE)
    master = Master(cache)
    puller, before = make_puller(cache.url), Workers(cache)
    blob = upstream.add_blob(random_bytes(SIZE, seed="out of memory"))
    upstream.faults.hold_at = HELD_AT
    pulls = []
    for worker in (before.first, before.second):
        with before.only(worker):
            pulls.append(puller.start_blob(APP, blob))
            pulls[-1].wait_for(HELD_AT - 1)
    master.reload()
    eventually(lambda: len(cache.workers()) == 4)

    for worker in set(cache.workers()) - {before.first, before.second}:
        cache.kill_worker(worker)

    assert puller.get("/v2/").status == 200
    upstream.faults.gate.set()
    assert [pull.finish().digest for pull in pulls] == [blob] * 2


@pytest.mark.parametrize("command", [SERVE, GUNICORN], ids=["registry-cache serve", "gunicorn"])
def test_what_cannot_be_is_refused_whole_and_what_can_is_taken_over(
    start: Start, make_puller: MakePuller, tmp_path: Path, command: list[str]
) -> None:
    server = start(command)
    puller = make_puller(server.url())
    assert puller.get("/v2/").status == 200

    hang_up(server, tmp_path, REFUSED, proxy={"ttl": "fast"}, sotrage={})
    # The problems come after it, a line each.
    eventually(lambda: "error sotrage" in server.printed())
    assert re.search(r"error proxy\.ttl.*fast", server.printed())
    # Whoever replaces a worker meanwhile has no need of that file.
    [worker, *_] = children(server)
    os.kill(worker, signal.SIGKILL)
    eventually(partial(ended, worker))
    eventually(lambda: len(children(server)) == 2)
    assert puller.get("/v2/").status == 200

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "layout").write_text("2\n", encoding="ascii")
    hang_up(server, tmp_path, REFUSED, storage={"filesystem": {"rootdirectory": str(tmp_path / "other")}})
    eventually(lambda: "holds a store of layout" in server.printed().rpartition(REFUSED)[2])

    hang_up(server, tmp_path, RELOADED, http={"addr": "127.0.0.1:0", "headers": {"X-Of": ["now"]}})
    # The workers of before hear of their end once the new ones are there.
    eventually(lambda: puller.get("/v2/").headers["X-Of"] == "now")
    assert server.press_control_c() == 0, server.printed()
    assert "Traceback" not in server.printed()


def test_another_address_is_listened_on_if_it_can_be(start: Start, make_puller: MakePuller, tmp_path: Path) -> None:
    server = start(SERVE)
    before = server.url()
    with socket.create_server(("127.0.0.1", 0)) as somebodys:
        taken = f"127.0.0.1:{somebodys.getsockname()[1]}"
        hang_up(server, tmp_path, REFUSED, http={"addr": taken})
    eventually(
        lambda: f"error http.addr: cannot listen on {taken}: something listens there already" in server.printed()
    )
    assert make_puller(before).get("/v2/").status == 200

    hang_up(server, tmp_path, RELOADED, http={"addr": "127.0.0.2:0"})

    eventually(lambda: "listening on http://127.0.0.2:" in server.printed())
    after = re.findall(r"listening on (\S+)", server.printed())[-1]
    assert urlsplit(after).hostname == "127.0.0.2"
    assert make_puller(after).get("/v2/").status == 200
    assert server.press_control_c() == 0, server.printed()


def test_a_listener_that_cannot_be_opened_leaves_the_others_as_they_are(
    start: Start, make_puller: MakePuller, tmp_path: Path
) -> None:
    [debug] = free_ports(1)
    address = f"127.0.0.1:{debug}"
    http = {"addr": "127.0.0.1:0", "secret": "the nodes know it", "debug": {"addr": address}}
    settings = {"version": 0.1, "http": http, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}}}
    server = start([*SERVE, "--", "--workers", "1"], settings)
    server.url()
    puller = make_puller(f"http://{address}")
    assert puller.get("/debug/health").status == 200
    [worker] = children(server)
    with socket.create_server(("127.0.0.1", 0)) as somebodys:
        taken = f"127.0.0.1:{somebodys.getsockname()[1]}"
        hang_up(server, tmp_path, REFUSED, http=http, redis={"addr": "127.0.0.1:1"}, cluster={"addr": taken})

    os.kill(worker, signal.SIGKILL)
    eventually(lambda: children(server) not in ([], [worker]))

    # By a worker that was forked after the refusal.
    assert make_puller(f"http://{address}").get("/debug/health").status == 200


def test_a_worker_that_hangs_is_replaced(start: Start, make_puller: MakePuller) -> None:
    server = start([*SERVE, "--", "--timeout", "5", "--workers", "1"])
    puller = make_puller(server.url())
    assert puller.get("/v2/").status == 200

    [hanging] = children(server)
    os.kill(hanging, signal.SIGSTOP)

    assert puller.get("/v2/").status == 200
    assert hanging not in children(server)


# gunicorn, with workers that are too large for it as soon as a file says so.
GROWN = """
import os, sys
from gunicorn.app.wsgiapp import run
from registry_cache.server import memory_guard
file = sys.argv.pop(1)
memory_guard.CHECK_SECONDS = 0.0
memory_guard.resident = lambda pid: os.path.exists(file) * (memory_guard.MOST_BYTES + 1)
run()
"""


def test_workers_that_have_grown_too_large_are_replaced_and_nobody_is_cut(
    upstream: FakeUpstream, start: Start, make_puller: MakePuller, tmp_path: Path
) -> None:
    settings = {"version": 0.1, "http": {"addr": "127.0.0.1:0"}, "proxy": {"remoteurl": upstream.url}, **GRACE}
    settings["storage"] = {"filesystem": {"rootdirectory": str(tmp_path / "store")}}
    wsgi = ["-c", str(REPOSITORY / "gunicorn.conf.py"), "--chdir", str(REPOSITORY), "wsgi:app"]
    server = start([sys.executable, "-c", GROWN, str(tmp_path / "grown"), *wsgi], settings)
    puller = make_puller(server.url())
    blob = upstream.add_blob(random_bytes(SIZE, seed="grown"))
    upstream.faults.hold_at = HELD_AT
    pull = puller.start_blob(APP, blob)
    pull.wait_for(HELD_AT - 1)
    before = children(server)

    (tmp_path / "grown").touch()
    # The one without a transfer ends, the other goes on with it, and no third set is begun.
    eventually(lambda: len({*children(server)} & {*before}) == 1)
    (tmp_path / "grown").unlink()
    assert len({*children(server)} - {*before}) == 2
    assert puller.get("/v2/").status == 200
    upstream.faults.gate.set()

    assert pull.finish().digest == blob
    eventually(lambda: not {*children(server)} & {*before})
    assert server.printed().count("warning a worker has grown too large: replacing all") == 1
    assert server.press_control_c() == 0, server.printed()


def test_memory_is_read_of_a_process_that_may_have_ended() -> None:
    # What it reads in pages, the kernel tells in KiB.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert most / 4 < memory_guard.resident(os.getpid()) <= most + 1 * MiB
    process = subprocess.Popen(["true"])
    process.wait(STOP_SECONDS)
    assert memory_guard.resident(process.pid) == 0


def test_a_new_master_takes_the_socket_over(start: Start, make_puller: MakePuller) -> None:
    server = start(SERVE)
    puller = make_puller(server.url())
    assert puller.get("/v2/").status == 200

    os.kill(server.process.pid, signal.SIGUSR2)
    eventually(lambda: len(server.masters()) == 2)
    new = server.masters()[1]
    server.process.terminate()

    try:
        assert server.process.wait(STOP_SECONDS) == 0
        assert puller.get("/v2/").status == 200
    finally:
        os.kill(new, signal.SIGTERM)
        eventually(partial(ended, new))
    assert "Traceback" not in server.printed()


def hang_up(server: Command, folder: Path, answer: str, **changes: object) -> None:
    """Write `changes` over the first configuration, HUP, and wait for what the server says to it."""
    settings = {"version": 0.1, "http": {"addr": "127.0.0.1:0"}}
    settings["storage"] = {"filesystem": {"rootdirectory": str(folder / "store")}}
    (folder / "config.yml").write_text(yaml.safe_dump(settings | changes), encoding="utf-8")
    before = server.printed().count(answer)
    os.kill(server.process.pid, signal.SIGHUP)
    eventually(lambda: server.printed().count(answer) > before)


def children(server: Command) -> list[int]:
    """The server's workers, by /proc."""
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(word) for word in path.read_text(encoding="ascii").split()]
