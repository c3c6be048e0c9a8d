"""200 clients that read nothing and 200 that send half a request: how long others wait for `/v2/`.

    python -m bench.slow_clients [--stalled 200] [--half-sent 200] [--seconds 20]

Twice: by gunicorn's own port, and through nginx with what `registry-cache nginx` prints. The stalled
clients ask for a stored blob larger than any buffer. A ping is a connection of its own, timed until its last byte.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from registry_cache.deployment import nginx
from registry_cache.deployment.nginx_routes import Registry
from tests.harness.images import MiB, random_bytes
from tests.harness.nginx import Nginx
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

BLOB = 64 * MiB
REPOSITORY = "library/app"
# A client's own buffer must not take much of the blob.
WINDOW = 4096
PAUSE_SECONDS = 0.02
WAIT_SECONDS = 60.0


@contextlib.contextmanager
def slow_clients(address: tuple[str, int], path: str, stalled: int, half_sent: int) -> Iterator[None]:
    """Keep as many connections of each kind as asked for."""
    with contextlib.ExitStack() as stack:
        for number in range(stalled + half_sent):
            client = stack.enter_context(socket.socket())
            client.settimeout(WAIT_SECONDS)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            client.connect(address)
            head = f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode()
            client.sendall(head + b"\r\n" if number < stalled else head)
            if number < stalled:
                # Answered, so that it is a reader and no backlog.
                client.recv(1)
        yield


def ping(address: tuple[str, int]) -> float:
    """Seconds until `/v2/` has answered."""
    began = time.monotonic()
    with socket.create_connection(address, timeout=WAIT_SECONDS) as client:
        client.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := client.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.monotonic() - began


def pings(address: tuple[str, int], seconds: float) -> list[float]:
    """Seconds of each ping of that time, the longest last."""
    found = []
    over = time.monotonic() + seconds
    while time.monotonic() < over:
        found.append(ping(address))
        time.sleep(PAUSE_SECONDS)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stalled", type=int, default=200)
    parser.add_argument("--half-sent", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slow-") as name, contextlib.ExitStack() as stack:
        folder, upstream = Path(name), FakeUpstream()
        stack.callback(upstream.stop)
        blob = upstream.add_blob(random_bytes(BLOB, seed=1), REPOSITORY)
        cache = CacheServer(folder / "cache", upstream.url, config={"http": {"accel": True}}, unix=folder / "socket")
        stack.callback(cache.close)
        front = Nginx(folder / "nginx", lambda address: nginx.render(_site(cache, upstream, folder, address)))
        stack.callback(front.stop)
        with Puller(cache.url) as puller:
            assert puller.blob(blob, REPOSITORY).status == 200
        for what, place in (("without nginx", cache.address), ("with nginx", front.address)):
            host, port = place.split(":")
            address = (host, int(port))
            quiet = pings(address, given.seconds / 4)
            with slow_clients(address, f"/v2/{REPOSITORY}/blobs/{blob}", given.stalled, given.half_sent):
                busy = pings(address, given.seconds)
            for when, found in (("quiet", quiet), ("beside slow clients", busy)):
                middle = found[len(found) // 2]
                print(f"{what}, {when}: {len(found)} pings, median {middle:.4f} s, worst {found[-1]:.4f} s", flush=True)


def _site(cache: CacheServer, upstream: FakeUpstream, folder: Path, address: str) -> nginx.Site:
    return nginx.Site(
        root=str(cache.root),
        registries=[Registry(upstream.url.removeprefix("http://"), ())],
        socket=str(folder / "socket"),
        listen=[address],
        server_name="localhost",
        certificate="",
        key="",
        headers={},
        auth=False,
        cors=False,
        read_timeout_seconds=60,
        log=str(folder / "access.log"),
        auth_cache=str(folder / "auth"),
    )


if __name__ == "__main__":
    main()
