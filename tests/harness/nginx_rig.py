"""A cache behind nginx as `registry-cache nginx` sets it up, reachable without nginx as well, to compare."""

import itertools
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from registry_cache.deployment import nginx
from registry_cache.deployment.nginx_routes import Registry
from tests.harness.nginx import Nginx
from tests.harness.pullers import Answer, Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

HUB = "docker.io"  # an alias of the default upstream
OTHER = "registry.example:5000"
HEADERS = {"X-Operator": ["one", 'a "second" \\ value'], "X-Frame-Options": ["DENY"]}

# Headers that describe the server that sent the answer.
OWN = {"server", "date", "connection", "x-request-id"}
# By how much the time-outs are shortened for tests of slow clients.
FASTER = 60

_repositories = itertools.count(1)


@dataclass(frozen=True)
class Behind:
    """A cache, nginx in front of it, and a client of each."""

    upstream: FakeUpstream
    other: FakeUpstream
    cache: CacheServer
    nginx: Nginx
    direct: Puller
    app: Puller
    access_log: Path

    def repository(self) -> str:
        """One that no other test uses."""
        return f"library/app{next(_repositories)}"

    def passed_on(self, answer: Answer) -> str:
        """The status that the application answered nginx, or "-" if nginx did not ask it; by nginx' access log."""
        mark = f" id={answer.headers['X-Request-Id']} "
        eventually(lambda: mark in self.log())
        line = next(line for line in self.log().splitlines() if mark in line)
        return line.partition(" app=")[2].partition(mark)[0]

    def log(self) -> str:
        """nginx' access log."""
        return self.access_log.read_text(encoding="utf-8", errors="replace")


def site(cache: CacheServer, upstream: FakeUpstream, socket: Path, address: str, log: Path, **more: Any) -> nginx.Site:
    """The parameters of `registry-cache nginx`."""
    values: dict[str, Any] = {
        "root": str(cache.root),
        "registries": [Registry(urlsplit(upstream.url).netloc, (HUB,)), Registry(OTHER)],
        "socket": str(socket),
        "listen": [address],
        "server_name": "localhost",
        "certificate": "",
        "key": "",
        "headers": HEADERS,
        "auth": False,
        "cors": False,
        "read_timeout_seconds": 60,
        "log": str(log),
        "log_buffer": False,  # tests look for lines at once
        "auth_cache": str(log.with_name("auth")),
    }
    return nginx.Site(**values | more)


@contextmanager
def running(
    folder: Path,
    config: Mapping[str, Any] | None = None,
    *,
    application: str = "wsgi:app",
    altered: Callable[[str], str] = str,
    **more: Any,
) -> Iterator[Behind]:
    """Start all of it, with `config` for the application and `more` for nginx; `altered` edits the configuration."""
    upstream, other = FakeUpstream(), FakeUpstream()
    settings: dict[str, Any] = {
        "proxy": {"aliases": [HUB]},
        "upstreams": {OTHER: {"remoteurl": other.url}},
        "http": {"headers": HEADERS, "accel": True},
    }
    with ExitStack() as stack:
        for server in (upstream, other):
            stack.callback(server.stop)
        cache = CacheServer(
            folder / "cache",
            upstream.url,
            config={**settings, **(config or {})},
            application=application,
            unix=folder / "http.sock",
        )
        stack.callback(cache.stop)

        def configure(address: str) -> str:
            text = nginx.render(site(cache, upstream, folder / "http.sock", address, folder / "access.log", **more))
            return altered(text)

        front = Nginx(folder / "nginx", configure)
        stack.callback(front.stop)
        # Clients disconnect first.
        direct, app = (stack.enter_context(Puller(url)) for url in (front.url, cache.url))
        yield Behind(upstream, other, cache, front, direct, app, folder / "access.log")
        for server in (upstream, other):
            server.faults.release()
    assert not upstream.problems + other.problems


class Secure(NamedTuple):
    """nginx behind TLS, and how a client trusts it."""

    server: Nginx
    client: ssl.SSLContext


def shown(headers: Message) -> list[tuple[str, str]]:
    """All headers that do not describe the server, sorted; repeated headers are kept."""
    return sorted((name.lower(), value) for name, value in headers.items() if name.lower() not in OWN)


def both(behind: Behind, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    """nginx' answer to a request; it must be the same as the application's."""
    by_app = behind.app.request(method, path, headers=headers)
    by_nginx = behind.direct.request(method, path, headers=headers)
    assert by_nginx.headers["Server"] == "nginx"  # and no version
    assert by_nginx.status == by_app.status
    assert shown(by_nginx.headers) == shown(by_app.headers)
    assert by_nginx.body == by_app.body
    return by_nginx
