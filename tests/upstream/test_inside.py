"""An upstream cannot use us to look around in our own network: by redirects, token servers, sizes or errors."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from registry_cache.errors import UpstreamElsewhere, UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.network import connect as connecting
from registry_cache.upstream.network import pool
from registry_cache.upstream.network.url import origin
from registry_cache.upstream.network.zones import PUBLIC_ONLY, Zone
from registry_cache.upstream.session import TLS, HttpRequest, Session, Timeouts
from tests.harness.cdn import HOST, FakeCdn
from tests.harness.pull_rig import SECONDS
from tests.harness.raw import RawServer
from tests.harness.store_rig import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect, read_all

DATA = b"layer" * 100
DIGEST = Digest.of(DATA)
SECRET = b'{"AccessKeyId": "ASIA", "SecretAccessKey": "secret", "schemaVersion": 2}'
LATEST = Tag("latest")
ONE_MESSAGE = r"^the content server of docker\.io did not answer as it should while we asked for [^:]*"


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream is on the internet, the content server is not."""

    def zone_of(address: str) -> Zone:
        return Zone.LINK_LOCAL if address == HOST else Zone.PUBLIC

    monkeypatch.setattr(connecting, "zone_of", zone_of)
    monkeypatch.setattr(pool, "zone_of", zone_of)


QUESTIONS: list[Callable[[Upstream], object]] = [
    lambda registry: registry.get_manifest(APP, LATEST),
    lambda registry: registry.get_manifest(APP, DIGEST),
    lambda registry: registry.head_blob(APP, DIGEST),
    lambda registry: registry.open_blob(APP, DIGEST),
    lambda registry: registry.list_tags(APP, None, None),
    lambda registry: registry.referrers(APP, DIGEST),
]


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("ask", QUESTIONS)
def test_nobody_on_the_internet_sends_us_inside(
    upstream: FakeUpstream, cdn: FakeCdn, ask: Callable[[Upstream], object]
) -> None:
    told = set()
    for place in (cdn.url, f"http://{HOST}:1", "http://no.such.host.invalid", f"http://localhost:{cdn.url[-5:]}"):
        upstream.faults.answer("/v2/", 307, Location=f"{place}/latest/meta-data/")
        with pytest.raises(UpstreamElsewhere, match=ONE_MESSAGE) as error:
            ask(connect(upstream.url))
        told.add((error.value.message, error.value.status, str(error.value.detail)))
    assert cdn.exchanges == []
    assert len(told) == 1


@pytest.mark.usefixtures("inside")
def test_an_old_connection_is_no_way_inside(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    session = Session("it", Timeouts(SECONDS, SECONDS), TLS())
    session.send(HttpRequest("GET", f"{cdn.url}/x", {}, "asked")).close()
    upstream.faults.answer("/v2/first", 307, Location=f"{cdn.url}/x")
    with pytest.raises(UpstreamElsewhere):
        session.send(HttpRequest("GET", f"{upstream.url}/v2/first", {}, "asked"))
    with pytest.raises(UpstreamError):
        session.send(HttpRequest("GET", f"{cdn.url}/x", {}, "asked", reach=PUBLIC_ONLY))
    assert len(cdn.exchanges) == 1


@pytest.mark.usefixtures("inside")
def test_a_key_allows_it(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    upstream.add_blob(DATA)
    upstream.faults.redirect_blobs_to = cdn
    registry = connect(upstream.url, private_redirects=True)
    assert read_all(registry.open_blob(APP, DIGEST)) == DATA
    assert registry.head_blob(APP, DIGEST) == len(DATA)


@pytest.mark.usefixtures("inside")
def test_a_token_server_inside_is_not_asked_unless_the_operator_lists_it(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    upstream.add_blob(DATA)
    for host in (cdn.url, cdn.url.replace(HOST, "127.0.0.2.nip.invalid")):
        upstream.faults.answer("/v2/", 401, WWW_Authenticate=f'Bearer realm="{host}/token",service="s"')
        with pytest.raises(UpstreamError):
            connect(upstream.url).open_blob(APP, DIGEST)
    assert cdn.exchanges == []
    upstream.faults.answer("/v2/", 401, WWW_Authenticate=f'Bearer realm="{cdn.url}/token",service="s"')
    with pytest.raises(UpstreamError):
        connect(upstream.url, realms=[HOST]).open_blob(APP, DIGEST)
    assert len(cdn.exchanges) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer(200, SECRET, "Content-Type: application/json"),
        answer(200, SECRET, "Content-Type: application/json", f"Docker-Content-Digest: {Digest.of(SECRET)}"),
        answer(200, b"<html>"),
        answer(404, b"404 page not found"),
        answer(500, SECRET),
        answer(206, SECRET, "Content-Range: bytes 0-9/1234"),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
)
@pytest.mark.parametrize("ask", [QUESTIONS[0], QUESTIONS[1], *QUESTIONS[4:]])
def test_what_is_inside_is_not_told_where_the_upstream_is_inside_too(
    upstream: FakeUpstream, ask: Callable[[Upstream], object], said: bytes
) -> None:
    server = RawServer(said)
    upstream.faults.answer("/v2/", 307, Location=f"{server.url}/x")
    try:
        with pytest.raises(UpstreamElsewhere, match=ONE_MESSAGE) as error:
            ask(connect(upstream.url))
    finally:
        server.stop()
    assert error.value.detail is None


def test_a_manifest_and_a_blob_are_what_they_are_wherever_they_come_from(upstream: FakeUpstream) -> None:
    manifest = json.dumps({"schemaVersion": 2, "layers": []}).encode()
    server = RawServer(answer(200, manifest, "Content-Type: text/plain"))
    upstream.faults.answer("/v2/", 307, Location=f"{server.url}/x")
    try:
        registry = connect(upstream.url)
        assert registry.get_manifest(APP, LATEST).data == manifest
        assert registry.get_manifest(APP, Digest.of(manifest)).data == manifest
        body = registry.open_blob(APP, DIGEST)
        assert body.is_inside
        body.close()
    finally:
        server.stop()


@pytest.mark.parametrize("said", [answer(200, b"x" * 1234), answer(206, b"x", "Content-Range: bytes 0-0/1234")])
def test_no_size_is_told_of_what_is_inside(upstream: FakeUpstream, said: bytes) -> None:
    server = RawServer(said.replace(b"1.1 200", b"1.1 200"))
    upstream.faults.answer("/v2/", 307, Location=f"{server.url}/x")
    try:
        registry = connect(upstream.url)
        assert registry.head_blob(APP, DIGEST) is None
        assert registry.blob_size(APP, DIGEST) is None
    finally:
        server.stop()


@pytest.mark.parametrize("host", ["169.254.169.254", "localhost", "vault", "metadata.google.internal", "10.0.0.1"])
def test_behind_a_proxy_the_name_decides(host: str) -> None:
    proxy = RawServer(answer(307, b"", f"Location: http://{host}/"), answer(200, b"secret"))
    session = Session("docker.io", Timeouts(SECONDS, SECONDS), TLS(), proxy.url)
    try:
        with pytest.raises(UpstreamElsewhere, match=ONE_MESSAGE):
            session.send(HttpRequest("GET", "http://registry.example.com/v2/", {}, "asked for it"))
        assert len(proxy.requests) == 1
        assert proxy.requests[0].startswith(b"GET http://registry.example.com/v2/ HTTP/1.1\r\n")
        # One that is inside itself may send us there.
        proxy._answers = (*proxy._answers[:1], *proxy._answers)
        with session.send(HttpRequest("GET", f"http://{host}:5000/v2/", {}, "asked for it")) as response:
            assert response.status_code == 200
    finally:
        proxy.stop()
    assert origin(response.url)[1] == host
