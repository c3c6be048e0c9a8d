"""A client that stops reading is let go; one that reads slowly, by whatever way its bytes leave, gets them all.

gunicorn with our worker and a small application, because the product's own bound is too long for a test. No time passes
here at all: the worker looks at a connection that waits when the test says so, by a request for /look.
"""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.server.send_timeout import LOOKS, PROXY_SEND_TIMEOUT_SECONDS, SEND_TIMEOUT_SECONDS
from tests.harness.checkout import REPOSITORY
from tests.harness.tls import make_certificate

SIZE = 24 * 2**20  # more than the kernel's buffers hold
CHUNK = 64 * 1024
# A small window, so that a client's buffer does not take everything at once.
WINDOW = 64 * 1024
SECONDS = 40.0
ENDED = b"the body ended"

# The test may be slow to send the first byte of a request.
APP = (
    "--worker-class",
    "registry_cache.server.worker.Worker",
    "--no-control-socket",
    "--keep-alive",
    "60",
    "__main__:app",
)
SERVER = textwrap.dedent(f"""
    import sys
    import gevent, gevent.event
    from registry_cache.server import send_timeout
    from gunicorn.app.wsgiapp import run
    FILE = sys.argv.pop(1)
    look, looked, ended = (gevent.event.Event() for _ in range(3))

    def pause(seconds):
        assert seconds == send_timeout.SEND_TIMEOUT_SECONDS / send_timeout.LOOKS
        looked.set()
        look.wait()
        look.clear()

    send_timeout.timeouts = send_timeout.SendTimeouts(pause)

    class Stream:
        left = {SIZE} // {CHUNK}
        def __iter__(self):
            return self
        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return bytes({CHUNK})
        def close(self):
            print("{ENDED.decode()}", file=sys.stderr, flush=True)
            ended.set()

    class File:
        def __init__(self):
            self.file = open(FILE, "rb")
            self.fileno, self.read = self.file.fileno, self.file.read
        def close(self):
            self.file.close()
            print("{ENDED.decode()}", file=sys.stderr, flush=True)
            ended.set()

    def app(environ, start):
        if environ["PATH_INFO"] == "/look":
            looked.clear()
            look.set()
            gevent.wait([looked, ended], count=1)
            start("200 OK", [("Content-Length", "0")])
            return []
        look.clear()
        ended.clear()
        start("200 OK", [("Content-Length", "{SIZE}")])
        return environ["wsgi.file_wrapper"](File()) if environ["PATH_INFO"] == "/file" else Stream()

    run()
""")


class Server:
    """At ``path`` it listens as behind nginx. At ``looks`` in a row its clients may read nothing."""

    def __init__(self, folder: Path, trust: Path | None, options: list[str], path: str = "") -> None:
        self.looks = round(LOOKS * PROXY_SEND_TIMEOUT_SECONDS / SEND_TIMEOUT_SECONDS) if path else LOOKS
        self._log = folder / "log"
        self._family = socket.AF_UNIX if path else socket.AF_INET
        (folder / "file").write_bytes(bytes(SIZE))
        self._trust = trust
        with socket.socket(self._family) as listener, self._log.open("wb") as log:
            listener.bind(path or ("127.0.0.1", 0))
            listener.listen()
            self._address = listener.getsockname()
            descriptor = listener.fileno()
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    SERVER,
                    str(folder / "file"),
                    "--bind",
                    f"fd://{descriptor}",
                    *APP,
                    *options,
                ],
                cwd=folder,  # the repository has a gunicorn.conf.py
                env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                stderr=log,
                pass_fds=[descriptor],
            )

    def log(self) -> bytes:
        return self._log.read_bytes()

    @contextlib.contextmanager
    def ask(self, path: str) -> Iterator[socket.socket]:
        with socket.socket(self._family) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            plain.settimeout(SECONDS)
            plain.connect(self._address)
            with self._secure(plain) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                yield connection

    def look(self) -> None:
        """Let the worker look once at the connection that waits to send; returns when it has, or none is left."""
        with self.ask("/look") as connection:
            assert connection.recv(CHUNK).startswith(b"HTTP/1.1 200")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)

    def _secure(self, plain: socket.socket) -> socket.socket:
        if self._trust is None:
            return plain
        return ssl.create_default_context(cafile=self._trust).wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.fixture(scope="module", params=["http", "https", "unix"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("slow")
    if request.param == "https":
        _, trust = make_certificate(folder)
        running = Server(folder, trust, ["--certfile", str(trust), "--keyfile", str(folder / "key.pem")])
    elif request.param == "unix":
        running = Server(folder, None, [], str(folder / "s"))
    else:
        running = Server(folder, None, [])
    yield running
    running.stop()
    assert b"Traceback" not in running.log()
    assert b"[ERROR]" not in running.log()


@pytest.mark.parametrize("path", ["/stream", "/file"])
def test_a_client_that_reads_nothing_is_let_go(server: Server, path: str) -> None:
    ended = server.log().count(ENDED)
    with server.ask(path) as connection:
        connection.recv(1)
        looks = 0
        while server.log().count(ENDED) == ended:
            server.look()
            looks += 1
            assert looks < 10 * server.looks, server.log().decode()
        # The first only says what there is.
        assert looks > server.looks
        with contextlib.suppress(OSError):
            while connection.recv(CHUNK):
                pass


@pytest.mark.parametrize("path", ["/stream", "/file"])
def test_a_client_that_reads_slowly_gets_everything(server: Server, path: str) -> None:
    """For three times the bound it takes less than would let the server write on."""
    received = 0
    with server.ask(path) as connection:
        for turn in range(1, 3 * server.looks + 1):
            while received < turn * CHUNK:  # TLS gives less at a time
                received += len(connection.recv(CHUNK))
            server.look()
        while data := connection.recv(CHUNK):
            received += len(data)
    assert received > SIZE
