"""Where requests go, what they carry there, and how long they are waited for."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.upstream.network.url import origin
from registry_cache.upstream.session import MAX_REDIRECTS, TLS, HttpRequest, Session, Timeouts
from tests.harness.cdn import FakeCdn
from tests.harness.fixture_types import MakeUpstream
from tests.harness.raw import RawServer
from tests.harness.store_rig import APP
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import ME, connect, read_all

DATA = b"layer" * 100
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
PATIENT = Timeouts(20, 40)


def send(url: str, path: str = "/v2/", session: Session | None = None, **headers: str) -> int:
    session = session or Session("it", PATIENT, TLS())
    with session.send(HttpRequest("GET", url + path, headers, "asked")) as response:
        return response.status_code


def test_only_what_was_meant_goes_along(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password leaked\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.9:1")
    upstream.faults.set_cookie = True
    session = Session("it", PATIENT, TLS())
    assert [send(upstream.url, session=session, Accept="a/b") for _ in range(2)] == [200, 200]
    for exchange in upstream.exchanges:
        allowed = {"host", "accept", "user-agent", "via", "accept-encoding", "connection"}
        assert set(map(str.lower, exchange.headers)) <= allowed
        assert exchange.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("base", ["", "http://{address}"])
def test_a_redirect_within_the_origin_keeps_what_was_sent(upstream: FakeUpstream, status: int, base: str) -> None:
    target = base.format(address=upstream.address) + "/v2/"
    upstream.faults.answer("GET /v2/first", status, Location=target)
    assert send(upstream.url, "/v2/first", Authorization="Bearer t", Range="bytes=5-") == 200
    assert [each.headers["Authorization"] for each in upstream.exchanges] == ["Bearer t"] * 2
    assert upstream.exchanges[1].headers["Range"] == "bytes=5-"


def test_another_host_is_told_no_credentials(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    upstream.faults.answer("GET /v2/first", 307, Location=f"{cdn.url}/x")
    send(upstream.url, "/v2/first", Authorization="Bearer t", Range="bytes=5-", Accept="a/b", Cookie="c=d", X_Other="x")
    (exchange,) = cdn.exchanges
    assert {"Authorization", "Cookie", "X_Other"} & set(exchange.headers) == set()
    assert (exchange.headers["Range"], exchange.headers["Accept"]) == ("bytes=5-", "a/b")


@pytest.mark.parametrize("secure", [False, True])
def test_another_port_is_told_credentials_by_https_alone(
    upstream: FakeUpstream, make_upstream: MakeUpstream, tmp_path: Path, secure: bool
) -> None:
    context, authority = make_certificate(tmp_path)
    other = make_upstream(tls=context if secure else None)
    session = Session("it", PATIENT, TLS(verify=str(authority)))
    upstream.faults.answer("GET /v2/first", 307, Location=f"{other.url}/v2/")
    assert send(upstream.url, "/v2/first", session, Authorization="Bearer t") == 200
    assert ("Authorization" in other.exchanges[0].headers) is secure


def test_our_certificate_is_shown_to_who_is_asked_and_not_to_where_that_redirects(
    make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    ours.mkdir()
    make_certificate(ours)
    context, authority = make_certificate(tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ours / "certificate.pem")
    registry, elsewhere = make_upstream(tls=context), make_upstream(tls=context)
    shown = TLS(str(authority), (str(ours / "certificate.pem"), str(ours / "key.pem")))
    session = Session("it", PATIENT, shown)
    registry.faults.answer("GET /v2/first", 307, Location=f"{elsewhere.url}/v2/")

    assert send(registry.url, session=session) == send(elsewhere.url, session=session) == 200
    elsewhere.forget()
    with pytest.raises(UpstreamUnavailable):
        send(registry.url, "/v2/first", Session("it", PATIENT, shown))
    assert elsewhere.exchanges == []


def test_who_was_sent_away_and_back_brings_no_credentials(upstream: FakeUpstream, make_upstream: MakeUpstream) -> None:
    other = make_upstream()
    upstream.faults.answer("GET /v2/first", 307, Location=f"{other.url}/v2/second")
    other.faults.answer("GET /v2/second", 307, Location=f"{upstream.url}/v2/")
    assert send(upstream.url, "/v2/first", Authorization="Bearer t") == 200
    assert "Authorization" not in upstream.exchanges[1].headers


def test_a_redirect_from_https_to_http_is_refused(
    upstream: FakeUpstream, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    session = Session("it", PATIENT, TLS(verify=str(authority)))
    secure.faults.answer("GET /v2/first", 307, Location=f"{upstream.url}/v2/")
    with pytest.raises(UpstreamError, match="https to http"):
        send(secure.url, "/v2/first", session)
    assert upstream.exchanges == []


def test_a_redirect_from_https_to_http_that_is_allowed_brings_no_credentials(
    upstream: FakeUpstream, make_upstream: MakeUpstream, tmp_path: Path
) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    secure.faults.answer("GET /v2/first", 307, Location=f"{upstream.url}/v2/")
    authorizations = {origin(secure.url): "Bearer t"}
    request = HttpRequest("GET", secure.url + "/v2/first", {}, "asked", authorizations=authorizations, allow_http=True)
    with Session("it", PATIENT, TLS(str(authority))).send(request) as response:
        assert response.status_code == 200
    assert secure.exchanges[0].headers["Authorization"] == "Bearer t"
    assert "Authorization" not in upstream.exchanges[0].headers


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("//bucket//key?X-Sig=a%2fb%2Fc&d=%7e~&e=", None),
        ("/a/../b/./c?x={y}|z", None),
        ("/key?", None),
        ("?sig=1", "/?sig=1"),
        ("/key#fragment", "/key"),
        ("/caf\u00e9 key", "/caf%E9%20key"),
    ],
)
def test_an_address_that_is_signed_is_asked_for_byte_for_byte(
    upstream: FakeUpstream, target: str, sent: str | None
) -> None:
    server = RawServer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    upstream.faults.answer("GET /v2/first", 307, Location=server.url + target)
    assert send(upstream.url, "/v2/first") == 200
    server.stop()
    (head,) = server.requests
    assert head.split(b"\r\n")[0].decode() == f"GET {sent or target} HTTP/1.1"


@pytest.mark.parametrize(
    "location",
    [
        "http://other\\\\@{home}/",
        "http://{home}\\\\@other.example/",
        "http://other\\{home}/",
        "http://other@{home}/",
        "http://k\u00e9y.{home}/",
        "//other\\@{home}/",
        "/\\other/",
    ],
)
def test_a_host_that_programs_read_differently_is_no_address(upstream: FakeUpstream, location: str) -> None:
    upstream.faults.answer("GET /v2/first", 307, Location=location.replace("{home}", upstream.address))
    with pytest.raises(UpstreamError, match="redirected to no address"):
        send(upstream.url, "/v2/first", Authorization="Bearer t")
    assert len(upstream.exchanges) == 1


@pytest.mark.parametrize(
    ("location", "words", "requests"),
    [
        ("/v2/library/app/blobs/{digest}", "redirected more than 5 times", MAX_REDIRECTS + 1),
        *((url, "redirected to no address", 1) for url in ("ftp://127.0.0.1/{digest}", "file:///etc/passwd")),
        *(
            (url, "redirected to no address", 1)
            for url in ("http://[nonsense/{digest}", "http://127.0.0.1:99999/", "data:,x")
        ),
        *((url, r"redirected to no|makes no sense", 1) for url in ("gopher://x", "http://[broken")),
    ],
)
def test_a_redirect_that_leads_nowhere_is_an_error(
    upstream: FakeUpstream, location: str, words: str, requests: int
) -> None:
    upstream.add_blob(DATA)
    upstream.faults.redirect_to = location
    with pytest.raises(UpstreamError, match=words) as error:
        connect(upstream.url).open_blob(APP, DIGEST)
    assert error.value.status == 502
    assert upstream.gets(NAME) == len(upstream.exchanges) == requests
    upstream.reset_faults()
    assert connect(upstream.url).head_blob(APP, DIGEST) == len(DATA)


def test_a_content_server_that_challenges_is_told_nothing(upstream: FakeUpstream, cdn: FakeCdn) -> None:
    upstream.add_blob(DATA)
    upstream.faults.redirect_blobs_to = cdn
    for challenge in (f'Bearer realm="{cdn.url}/token"', f'Bearer realm="{upstream.url}/token"', 'Basic realm="x"'):
        cdn.challenge = challenge
        with pytest.raises(UpstreamError):
            connect(upstream.url, ME).open_blob(APP, DIGEST)
    assert upstream.token_requests == []
    assert all(each.path.startswith("/data/") for each in cdn.exchanges)


def test_silence_is_bounded(upstream: FakeUpstream) -> None:
    upstream.faults.hold_before = "/"
    with pytest.raises(UpstreamTimeout):
        send(upstream.url, session=Session("it", Timeouts(20, 0.05), TLS()))


def test_nobody_there(upstream: FakeUpstream) -> None:
    upstream.stop()
    with pytest.raises(UpstreamUnavailable, match="refused"):
        send(upstream.url)


def test_a_certificate_that_nobody_vouches_for(make_upstream: MakeUpstream, tmp_path: Path) -> None:
    context, _ = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    with pytest.raises(UpstreamUnavailable, match="TLS"):
        send(secure.url)
    assert secure.exchanges == []


def test_the_environment_does_not_decide_whom_to_trust(
    make_upstream: MakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, authority = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with pytest.raises(UpstreamUnavailable, match="TLS"):
        send(make_upstream(tls=context).url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes x\r\nContent-Length: 5\r\n\r\nshort",
    ],
)
def test_bytes_that_no_server_should_send_are_an_honest_error_or_end(answer: bytes) -> None:
    server = RawServer(answer)
    try:
        try:
            body = connect(server.url).open_blob(APP, DIGEST)
            got = read_all(body)
        except UpstreamError:
            return
        # Without a usable length, an early end is an end; the digest decides.
        assert body.size in (None, 0) or len(got) < body.size
    finally:
        server.stop()
