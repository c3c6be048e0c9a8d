"""The OCI pull part as a table: method, path, headers → status, headers, error code. One server, never changed."""

import http.client
import re
from collections.abc import Iterator, Mapping
from email.message import Message

import pytest

from tests.harness import raw_client
from tests.harness.content import APP, OCI_MANIFEST, digest_of
from tests.harness.images import make_image, random_bytes
from tests.harness.pullers import Answer, Puller
from tests.harness.running import running, running_cache
from tests.harness.upstream import FakeUpstream

DATA = random_bytes(5000, seed="contract")
BLOB = digest_of(DATA)
BLOB512 = digest_of(DATA, "sha512")
NOWHERE = "sha256:" + "0" * 64
ODD_NAMES = (
    "a/manifests/b",
    "blobs/manifests",
    "manifests",
    "tags/list",
    "x/blobs/uploads",
    "a.b_c__d---e/f",
    "n" * 255,
)
SECONDS = 30.0

# spec.md, "Error Codes"; UNKNOWN and UNAVAILABLE are ours for 5xx, where the spec has none.
CODES = {
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED"),
    *("DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a cache that has everything below warm, but for what says otherwise."""
    upstream = FakeUpstream()
    for repository in (APP, *ODD_NAMES):
        upstream.add_blob(DATA, repository)
        make_image(upstream, repository, layers=1)
    upstream.add_blob(DATA, algorithm="sha512")
    make_image(upstream, tag="a" * 128, layers=1)
    config = {"upstreams": {"k.example": {"remoteurl": upstream.url}}}
    folder = tmp_path_factory.mktemp("contract")
    with running(upstream), running_cache(folder, upstream, config=config) as server:
        for path in (f"blobs/{BLOB}", f"blobs/{BLOB512}", "manifests/1"):
            assert Puller(server.url).get(f"/v2/{APP}/{path}").status == 200
        yield server.address


@pytest.fixture(scope="module")
def image(address: str) -> str:
    """The digest of the manifest that tag 1 means."""
    return str(ask(address, "HEAD", f"/v2/{APP}/manifests/1").headers["Docker-Content-Digest"])


def ask(address: str, method: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    """One request; what holds for every answer is asserted here."""
    answer = Puller(f"http://{address}").request(method, path, headers)
    check(method, answer)
    return answer


def check(method: str, answer: Answer) -> None:
    """Assert what holds for every answer."""
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    assert answer.headers.get_all("Content-Security-Policy") == ["default-src 'none'; sandbox"]
    assert answer.headers["WWW-Authenticate"] is None
    assert answer.headers["Set-Cookie"] is None
    assert answer.headers["Content-Encoding"] is None
    assert answer.status == 304 or answer.headers["Content-Length"] is not None
    assert answer.headers["Transfer-Encoding"] is None
    if method == "HEAD" or answer.status == 304:
        assert answer.body == b""
    else:
        assert int(answer.headers["Content-Length"]) == len(answer.body)
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Docker-Content-Digest"] is None
        if method != "HEAD":
            assert code(answer) in CODES


def code(answer: Answer) -> str:
    """The code of the one error of a body that has the spec's form."""
    document = answer.json()
    assert list(document) == ["errors"]
    (error,) = document["errors"]
    assert set(error) <= {"code", "message", "detail"}
    assert isinstance(error["message"], str)
    assert error["message"]
    return str(error["code"])


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_version(address: str, method: str, path: str) -> None:
    answer = ask(address, method, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.headers["Content-Length"] == "2"


def manifest_headers(digest: str, size: int, cache_control: str) -> dict[str, str]:
    return {
        "Content-Type": OCI_MANIFEST,
        "Content-Length": str(size),
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
        "Cache-Control": cache_control,
        "Content-Disposition": "attachment",
    }


@pytest.mark.parametrize("by_tag", [True, False])
def test_a_manifest(address: str, image: str, by_tag: bool) -> None:
    path = f"/v2/{APP}/manifests/{'1' if by_tag else image}"
    answer = ask(address, "GET", path)
    assert (answer.status, digest_of(answer.body)) == (200, image)
    expected = manifest_headers(image, len(answer.body), "no-cache" if by_tag else "max-age=31536000, immutable")
    assert {name: answer.headers[name] for name in expected} == expected
    same_but_for_moment(answer.headers, ask(address, "HEAD", path).headers)


@pytest.mark.parametrize(("blob", "algorithm"), [(BLOB, "sha256"), (BLOB512, "sha512")])
def test_a_blob(address: str, blob: str, algorithm: str) -> None:
    path = f"/v2/{APP}/blobs/{blob}"
    answer = ask(address, "GET", path)
    assert (answer.status, answer.body) == (200, DATA)
    expected = {
        "Content-Type": "application/octet-stream",
        "Content-Length": "5000",
        "Accept-Ranges": "bytes",
        "Docker-Content-Digest": blob,
        "ETag": f'"{blob}"',
        "Cache-Control": "max-age=31536000, immutable",
        "Content-Disposition": "attachment",
        "X-Cache": "hit",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    same_but_for_moment(answer.headers, ask(address, "HEAD", path).headers)


def same_but_for_moment(get: Message, head: Message) -> None:
    """Assert that a HEAD said what the GET said."""
    of_the_moment = {"Date", "X-Request-Id"}
    assert {(k, v) for k, v in get.items() if k not in of_the_moment} == {
        (k, v) for k, v in head.items() if k not in of_the_moment
    }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"{}"', 304),
        ("{}", 304),
        ('W/"{}"', 304),
        ('"x", "{}"', 304),
        ("*", 304),
        ('"sha256:other"', 200),
        ("", 200),
        ('"{}', 304),  # half a quote is no other tag
    ],
)
def test_if_none_match(address: str, image: str, method: str, condition: str, status: int) -> None:
    for path, digest in ((f"manifests/{image}", image), ("manifests/1", image), (f"blobs/{BLOB}", BLOB)):
        answer = ask(address, method, f"/v2/{APP}/{path}", {"If-None-Match": condition.format(digest)})
        assert answer.status == status, path
        assert answer.headers["ETag"] == f'"{digest}"'
        assert answer.headers["Docker-Content-Digest"] == digest


WHOLE = (200, None, DATA)


@pytest.mark.parametrize(
    ("asked", "status", "span", "body"),
    [
        ("bytes=0-0", 206, "bytes 0-0/5000", DATA[:1]),
        ("bytes=100-199", 206, "bytes 100-199/5000", DATA[100:200]),
        ("bytes=4990-", 206, "bytes 4990-4999/5000", DATA[4990:]),
        ("bytes=4990-9999", 206, "bytes 4990-4999/5000", DATA[4990:]),
        ("bytes=0-18446744073709551615", 206, "bytes 0-4999/5000", DATA),
        ("bytes=-10", 206, "bytes 4990-4999/5000", DATA[-10:]),
        ("bytes=-9999", 206, "bytes 0-4999/5000", DATA),
        ("bytes=5000-", 416, "bytes */5000", None),
        ("bytes=5000-6000", 416, "bytes */5000", None),
        ("bytes=-0", 416, "bytes */5000", None),
        ("bytes=500-0", 416, "bytes */5000", None),
        ("bytes=0-1,6000-", 206, "bytes 0-1/5000", DATA[:2]),
        ("bytes=0-1,5-x", *WHOLE),
        ("bytes=", *WHOLE),
        ("bytes=-", *WHOLE),
        ("bytes=x-y", *WHOLE),
        ("lines=1-2", *WHOLE),
        ("0-1", *WHOLE),
    ],
)
def test_a_range(address: str, asked: str, status: int, span: str | None, body: bytes | None) -> None:
    answer = ask(address, "GET", f"/v2/{APP}/blobs/{BLOB}", {"Range": asked})
    assert (answer.status, answer.headers["Content-Range"]) == (status, span)
    assert body is None or answer.body == body
    if status == 206:
        assert answer.headers["Docker-Content-Digest"] == BLOB
        assert answer.headers["Content-Type"] == "application/octet-stream"


def test_several_ranges(address: str) -> None:
    answer = ask(address, "GET", f"/v2/{APP}/blobs/{BLOB}", {"Range": "bytes=0-1,5-6"})
    kind, _, boundary = answer.headers["Content-Type"].partition("; boundary=")
    assert (answer.status, kind, answer.headers["Content-Range"]) == (206, "multipart/byteranges", None)
    assert (
        answer.body
        == b"".join(
            b"\r\n--%s\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes %s/5000\r\n\r\n%s"
            % (boundary.encode(), span, data)
            for span, data in ((b"0-1", DATA[:2]), (b"5-6", DATA[5:7]))
        )
        + b"\r\n--%s--\r\n" % boundary.encode()
    )


@pytest.mark.parametrize(
    ("condition", "status"),
    [(f'"{BLOB}"', 206), ('"other"', 200), (f'W/"{BLOB}"', 200), ("Wed, 21 Oct 2015 07:28:00 GMT", 200)],
)
def test_if_range(address: str, condition: str, status: int) -> None:
    headers = {"Range": "bytes=10-19", "If-Range": condition}
    answer = ask(address, "GET", f"/v2/{APP}/blobs/{BLOB}", headers)
    assert (answer.status, answer.body) == (status, DATA[10:20] if status == 206 else DATA)


def test_a_range_of_a_head_is_nothing(address: str) -> None:
    answer = ask(address, "HEAD", f"/v2/{APP}/blobs/{BLOB}", {"Range": "bytes=0-9"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, "5000")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_may_hold_any_word(address: str, name: str) -> None:
    manifest = ask(address, "GET", f"/v2/{name}/manifests/1")
    assert manifest.status == 200
    by_digest = ask(address, "GET", f"/v2/{name}/manifests/{manifest.headers['Docker-Content-Digest']}")
    assert by_digest.body == manifest.body
    assert ask(address, "GET", f"/v2/{name}/blobs/{BLOB}").body == DATA
    assert ask(address, "GET", f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["1"]}
    assert ask(address, "GET", f"/v2/{name}/referrers/{BLOB}").json()["manifests"] == []


REFUSED = [
    # what is not there
    (f"{APP}/manifests/none", 404, "MANIFEST_UNKNOWN"),
    (f"{APP}/manifests/{NOWHERE}", 404, "MANIFEST_UNKNOWN"),
    (f"{APP}/blobs/{NOWHERE}", 404, "BLOB_UNKNOWN"),
    ("none/manifests/1", 404, "MANIFEST_UNKNOWN"),
    (f"none/blobs/{BLOB}", 404, "BLOB_UNKNOWN"),
    ("none/tags/list", 404, "NAME_UNKNOWN"),
    # tags that no grammar allows do not exist
    (f"{APP}/manifests/{'a' * 129}", 404, "MANIFEST_UNKNOWN"),
    (f"{APP}/manifests/-x", 404, "MANIFEST_UNKNOWN"),
    (f"{APP}/manifests/.hidden", 404, "MANIFEST_UNKNOWN"),
    (f"{APP}/manifests/a+b", 404, "MANIFEST_UNKNOWN"),
    # digests
    (f"{APP}/blobs/sha256:abc", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/{BLOB.upper()}", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/sha256:{'A' * 64}", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/sha256:{'0' * 65}", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/md5:{'0' * 32}", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/{'0' * 64}", 400, "DIGEST_INVALID"),
    (f"{APP}/blobs/1", 400, "DIGEST_INVALID"),
    (f"{APP}/manifests/sha256:", 400, "DIGEST_INVALID"),
    (f"{APP}/manifests/sha256:{'g' * 64}", 400, "DIGEST_INVALID"),
    (f"{APP}/referrers/sha256:abc", 400, "DIGEST_INVALID"),
    (f"{APP}/referrers/latest", 400, "DIGEST_INVALID"),
    # names
    ("Library/app/manifests/1", 400, "NAME_INVALID"),
    ("library/App/tags/list", 400, "NAME_INVALID"),
    (f"-app/blobs/{BLOB}", 400, "NAME_INVALID"),
    ("app-/manifests/1", 400, "NAME_INVALID"),
    ("a..b/manifests/1", 400, "NAME_INVALID"),
    ("a___b/manifests/1", 400, "NAME_INVALID"),
    ("_catalog/manifests/1", 400, "NAME_INVALID"),
    (f"{'n' * 256}/manifests/1", 400, "NAME_INVALID"),
    ("a%20b/manifests/1", 400, "NAME_INVALID"),
    ("%C3%A4/manifests/1", 400, "NAME_INVALID"),
    ("a%0Ab/manifests/1", 404, "NAME_UNKNOWN"),
    # paths that two parsers may read in two ways
    ("library%2fapp/manifests/1", 400, "NAME_INVALID"),
    ("library%2Fapp/manifests/1", 400, "NAME_INVALID"),
    ("library//app/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}//manifests/1", 400, "NAME_INVALID"),
    ("../etc/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}/../other/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}/./manifests/1", 400, "NAME_INVALID"),
    (f"%2e%2e/{APP}/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}/manifests/..%2f..%2fetc", 400, "NAME_INVALID"),
    (f"{APP}/manifests/1%00", 400, "NAME_INVALID"),
    (f"%00{APP}/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}%5cx/manifests/1", 400, "NAME_INVALID"),
    (f"{APP}/manifests/%2531", 400, "NAME_INVALID"),
    # URLs that the API does not have
    (f"{APP}", 404, "NAME_UNKNOWN"),
    ("manifests/1", 404, "NAME_UNKNOWN"),
    (f"{APP}/manifests/", 404, "NAME_UNKNOWN"),
    (f"{APP}/manifests/1/", 404, "NAME_UNKNOWN"),
    (f"{APP}/blobs/", 404, "NAME_UNKNOWN"),
    (f"{APP}/tags/", 404, "NAME_UNKNOWN"),
    (f"{APP}/tags/none", 404, "NAME_UNKNOWN"),
    (f"{APP}/blobs/uploads/", 404, "NAME_UNKNOWN"),
    ("_search", 404, "NAME_UNKNOWN"),
    # another registry
    (f"{APP}/manifests/1?ns=example.com", 404, "NAME_UNKNOWN"),
    (f"{APP}/manifests/1?ns=169.254.169.254", 404, "NAME_UNKNOWN"),
    ("example.com:5000/app/manifests/1", 404, "NAME_UNKNOWN"),
    ("_catalog?ns=example.com", 404, "NAME_UNKNOWN"),
    # U+212A, which is a k in lower case
    (f"{APP}/manifests/1?ns=%E2%84%AA.example", 404, "NAME_UNKNOWN"),
    ("_catalog?ns=%E2%84%AA.example", 404, "NAME_UNKNOWN"),
    ("%E2%84%AA.example/app/manifests/1", 400, "NAME_INVALID"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("path", "status", "error"), REFUSED)
def test_a_request_that_cannot_be(address: str, method: str, path: str, status: int, error: str) -> None:
    answer = ask(address, method, f"/v2/{path}")
    assert answer.status == status
    assert method == "HEAD" or code(answer) == error


@pytest.mark.parametrize(
    "path", ["/debug/health", "/v1/_ping", "/v1/search?q=x", "/favicon.ico", "/v2x", "/static/x", "/token"]
)
def test_a_url_outside_the_api(address: str, path: str) -> None:
    answer = ask(address, "GET", path)
    assert (answer.status, code(answer)) == (404, "NAME_UNKNOWN")


PUSHES = [
    ("POST", f"/v2/{APP}/blobs/uploads/"),
    ("POST", f"/v2/{APP}/blobs/uploads/?mount={BLOB}&from=x"),
    ("PATCH", f"/v2/{APP}/blobs/uploads/1234"),
    ("PUT", f"/v2/{APP}/blobs/uploads/1234?digest={BLOB}"),
    ("PUT", f"/v2/{APP}/manifests/1"),
    ("DELETE", f"/v2/{APP}/manifests/1"),
    ("DELETE", f"/v2/{APP}/blobs/{BLOB}"),
    ("POST", "/v2/"),
    ("PUT", "/v2/_catalog"),
    ("DELETE", f"/v2/{APP}/tags/list"),
    ("OPTIONS", f"/v2/{APP}/manifests/1"),
    ("POST", "/v2/No/Such//Name"),
    ("TRACE", "/v2/"),
]


@pytest.mark.parametrize(("method", "path"), PUSHES)
@pytest.mark.parametrize(
    "body",
    [b"", b"Content-Length: 1000000000\r\n", b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n"],
    ids=["nothing", "announced", "expecting"],
)
def test_pushing_is_unsupported_before_the_body_is_read(address: str, method: str, path: str, body: bytes) -> None:
    answer = raw_client.ask(address, f"{method} {path} HTTP/1.1\r\nHost: {address}\r\n".encode() + body + b"\r\n")
    check(method, answer)
    assert (answer.status, code(answer)) == (405, "UNSUPPORTED")
    assert answer.headers["Allow"] == "GET, HEAD"


def test_a_chunked_push_is_unsupported_too(address: str) -> None:
    head = f"PATCH /v2/{APP}/blobs/uploads/1 HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw_client.ask(address, head.encode())
    assert (answer.status, code(answer)) == (405, "UNSUPPORTED")


def test_a_get_with_a_body_is_a_get(address: str) -> None:
    request = f"GET /v2/{APP}/manifests/1 HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\n\r\nabc"
    assert raw_client.ask(address, request.encode()).status == 200


@pytest.mark.parametrize(
    "request_line",
    [b"GET /v2/\x00/manifests/1 HTTP/1.1", b"GET /v2/\xff\xfe/manifests/1 HTTP/1.1", b"GET /v2/ HTTP/9.9", b"nonsense"],
)
def test_bytes_that_are_no_request_are_a_clients_fault(address: str, request_line: bytes) -> None:
    answer = raw_client.ask(address, request_line + b"\r\nHost: x\r\n\r\n")
    assert 400 <= answer.status <= 505
    assert answer.status != 500
    check("GET", answer)


@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
def test_a_request_may_name_the_whole_url(address: str, image: str, scheme: str) -> None:
    """RFC 9112 §3.2.2."""

    def status(path: str) -> int:
        return raw_client.ask(
            address, f"GET {scheme}://mirror.example:5000{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        ).status

    assert status("/v2/") == 200
    assert status(f"/v2/{APP}/manifests/{image}") == 200
    assert status(f"/v2/{APP}/manifests/{image}?ns=example.com") == 404
    assert status("/v2/library//app/manifests/1") == 400
    assert status("//v2/") == 400
    assert status("\\v2/") == 400


def test_the_catalog_is_of_the_upstream_that_is_named(address: str) -> None:
    assert ask(address, "GET", "/v2/_catalog?ns=k.example").json() == {"repositories": []}
    for name in ("k.example/a/one", "K.example/a/two"):
        assert ask(address, "GET", f"/v2/{name}/manifests/1").status == 404
    for name in ODD_NAMES[:2]:
        assert ask(address, "GET", f"/v2/k.example/{name}/manifests/1").status == 200
    page = ask(address, "GET", "/v2/_catalog?n=1&ns=K.example")
    assert page.json() == {"repositories": ["a/manifests/b"]}
    assert page.headers["OCI-Namespace"] == "K.example"
    assert page.headers["Link"] == '</v2/_catalog?n=1&last=a%2Fmanifests%2Fb&ns=K.example>; rel="next"'
    rest = ask(address, "GET", "/v2/_catalog?n=1&last=a%2Fmanifests%2Fb&ns=k.example")
    assert rest.json() == {"repositories": ["blobs/manifests"]}
    assert APP in ask(address, "GET", "/v2/_catalog").json()["repositories"]


def test_a_url_too_long_is_refused(address: str) -> None:
    answer = raw_client.ask(address, b"GET /v2/" + b"a" * 10_000 + b"/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 400 <= answer.status < 500
    check("GET", answer)


def test_a_tls_hello_is_answered_at_once(address: str) -> None:
    """Clients try TLS first and plain HTTP when they are answered so; without an answer they wait for ten seconds."""
    hello = b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(32)
    with raw_client.connect(address) as connection:
        connection.sendall(hello)
        assert connection.recv(100).startswith(b"HTTP/")


def test_a_connection_serves_one_request_after_another(address: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=SECONDS)
    paths = ("/v2/", f"/v2/{APP}/blobs/{BLOB}", f"/v2/{APP}/blobs/{NOWHERE}", f"/v2/{APP}/manifests/1", "/v2/No/x")
    for path in paths * 2:
        for method in ("GET", "HEAD"):
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            assert not response.will_close, (method, path)
    connection.close()


def test_a_request_id_is_kept_where_it_is_one(address: str) -> None:
    for given, kept in (("abc-123", True), ("x" * 65, False), ("<script>", False)):
        answer = ask(address, "GET", "/v2/", {"X-Request-Id": given})
        assert (answer.headers["X-Request-Id"] == given) is kept
        assert re.fullmatch(r"[A-Za-z0-9._-]+", answer.headers["X-Request-Id"])
