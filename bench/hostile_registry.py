"""A registry whose answers are attacks: the repository's first part says which, so that many go on side by side."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socketserver
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

# Nobody waits for longer.
MOST_SECONDS = 30.0
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INSIDE = "http://169.254.169.254/latest/meta-data/"
# By this name of loopback it is another host.
OTHER = "127.0.0.2"
# What the cache calls this registry in a path.
PREFIX = "evil.example"
# Where it says how often which attack was asked for.
ASKED = "/asked"


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of the cache's; ``server.attack`` names an attack for paths that have none."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer by the attack that the path names: ``/v2/<attack>/…``."""
        name = self.path.split("/")[2] if self.path.count("/") > 1 else ""
        asked = getattr(self.server, "asked", Counter())
        if self.path == ASKED:
            self.say(200, json.dumps(asked).encode())
            return
        asked[name] += 1
        self.close_connection = True
        with contextlib.suppress(OSError):
            ATTACKS.get(name, refuse)(self)

    do_HEAD = do_GET

    @property
    def port(self) -> int:
        """Where this registry listens."""
        return int(self.connection.getsockname()[1])

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send an ordinary answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def go_on(self, piece: bytes, pause: float = 0.0) -> None:
        """Send ``piece`` again and again."""
        end = time.monotonic() + MOST_SECONDS
        while time.monotonic() < end:
            self.wfile.write(piece)
            time.sleep(pause)


@cache
def fat_manifest(number: int) -> bytes:
    layers = ",".join(f'{{"digest":"sha256:{number * 10**6 + layer:064x}","size":1}}' for layer in range(42_000))
    return f'{{"schemaVersion":2,"layers":[{layers}]}}'.encode()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@cache
def bomb() -> bytes:
    """Return the gzip of 256 MiB of zeros, without ever holding these."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(squeeze.compress(bytes(1024 * 1024)) for _ in range(256)), squeeze.flush()])


def refuse(handler: Handler) -> None:
    handler.say(404, b'{"errors":[]}')


def fat(handler: Handler) -> None:
    number = int(handler.path.split("/")[3])
    handler.say(200, fat_manifest(number), Content_Type=MANIFEST, Docker_Content_Digest=digest_of(fat_manifest(number)))


def endless_interim(handler: Handler) -> None:
    handler.go_on(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def dripping_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    handler.go_on(b"X: y\r\n", 1.0)


def endless_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    handler.go_on(b"X: " + b"y" * 8000 + b"\r\n")


def endless_trailers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    handler.go_on(b"X: y\r\n" * 100)


def tiny_chunks(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    handler.go_on(b"1\r\n \r\n" * 1000)


def dripping_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    handler.go_on(b" ", 0.5)


def gzip_bomb(handler: Handler) -> None:
    handler.say(200, bomb(), Content_Encoding="gzip", Content_Type=MANIFEST)


def deep_json(handler: Handler) -> None:
    handler.say(200, b'{"schemaVersion":2,"layers":' + b"[" * 2_000_000, Content_Type=MANIFEST)


def page(handler: Handler) -> None:
    handler.say(200, b"<script>alert(1)</script>", Content_Type="text/html")


def wrong_bytes(handler: Handler) -> None:
    handler.say(200, bytes(4 * 1024 * 1024), Content_Type="application/octet-stream")


def huge_word(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n" + bytes(12_000))


def redirect_inside(handler: Handler) -> None:
    handler.say(307, Location=INSIDE)


def redirect_in_a_circle(handler: Handler) -> None:
    handler.say(307, Location=handler.path)


def two_hosts(handler: Handler) -> None:
    handler.say(307, Location="http://169.254.169.254\\@registry.example/")


def realm_inside(handler: Handler) -> None:
    handler.say(401, WWW_Authenticate=f'Bearer realm="{INSIDE}",service="x"')


def many_challenges(handler: Handler) -> None:
    handler.say(401, WWW_Authenticate=", ".join(f'Bearer realm="http://h{n}.example/"' for n in range(1000)))


def long_list(handler: Handler) -> None:
    handler.say(200, json.dumps({"tags": [f"t{number:09d}" for number in range(500_000)]}).encode())


def endless_pages(handler: Handler) -> None:
    manifests = json.dumps({"manifests": [{"note": "x" * 1000}] * 2000}).encode()
    handler.say(200, manifests, Link=f'<{handler.path.partition("?")[0]}?last={time.monotonic_ns()}>; rel="next"')


def failing(handler: Handler) -> None:
    handler.say(503)


def chunk_extensions(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    handler.go_on(b"1;" + b"x" * 60_000 + b"\r\n \r\n")


def many_lists(handler: Handler) -> None:
    handler.say(200, b'{"schemaVersion":2,"layers":[' + b"[]," * 1_300_000 + b"[]]}", Content_Type=MANIFEST)


def empty_pages(handler: Handler) -> None:
    body = b'{"manifests":[],"tags":[]}'
    handler.say(200, body, Link=f'<{handler.path.partition("?")[0]}?last={time.monotonic_ns()}>; rel="next"')


def limit_elsewhere(handler: Handler) -> None:
    """Be another host to the cache, which has a limit of its own."""
    if "/elsewhere/" in handler.path:
        handler.say(429, Retry_After="86400")
    else:
        handler.say(307, Location=f"http://{OTHER}:{handler.port}/v2/limit-elsewhere/elsewhere/manifests/latest")


def ring(handler: Handler) -> None:
    """Lead the cache back to itself, each time to something new; the path says where it is."""
    host, port, _, *kind = [*handler.path.split("/")[3:], "", ""]
    if not port.isdecimal():
        # Asked by who does not say.
        refuse(handler)
        return
    new = f"{host}/{port}/{time.monotonic_ns()}"
    handler.say(307, Location=f"http://{host}:{port}/v2/{PREFIX}/ring/{new}/{'/'.join(kind).rstrip('/')}")


ATTACKS: dict[str, Callable[[Handler], None]] = {
    attack.__name__.replace("_", "-"): attack
    for attack in (
        *(fat, endless_interim, dripping_head, endless_head, endless_trailers, tiny_chunks, dripping_body, gzip_bomb),
        *(deep_json, page, wrong_bytes, huge_word, redirect_inside, redirect_in_a_circle, two_hosts, realm_inside),
        *(many_challenges, long_list, endless_pages, failing, chunk_extensions, many_lists, empty_pages),
        *(limit_elsewhere, ring),
    )
}


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: Counter[str] = Counter()

    def handle_error(self, *_: object) -> None:
        """Say nothing: the cache leaves in the middle of what has no end."""


class HostileRegistry:
    """Listens on loopback until ``stop``; ``asked`` counts requests by attack."""

    def __init__(self) -> None:
        self._server = Server(("0.0.0.0", 0), Handler)  # noqa: S104 — all of loopback: it is another host, too
        self.asked = self._server.asked
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
