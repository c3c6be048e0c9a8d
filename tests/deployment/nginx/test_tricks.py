"""A path reaches a file in one spelling only: any other is the application's to judge, or refused."""

import pytest

from tests.harness import raw_client
from tests.harness.images import KiB, random_bytes
from tests.harness.nginx_rig import OTHER, Behind

SECRET = random_bytes(KiB, seed="secret")
# Of the blob {b} of the repository {r}, which a client may have; {h} is its hex and {B} is in capitals.
ODD = [
    "/v2/{r}/blobs//sha256:{h}",
    "/v2//{r}/blobs/sha256:{h}",
    "//v2/{r}/blobs/sha256:{h}",
    "/v2/./{r}/blobs/sha256:{h}",
    "/v2/x/../{r}/blobs/sha256:{h}",
    "/v2/{r}/x/../blobs/sha256:{h}",
    "/v2/{r}/%2e/blobs/sha256:{h}",
    "/v2/x/%2e%2e/{r}/blobs/sha256:{h}",
    "/v2/x%2f..%2f{r}/blobs/sha256:{h}",
    "/v2/{e}/blobs/sha256:{h}",
    "/v2/{r}%2fblobs/sha256:{h}",
    "/v2/{r}/blobs%2fsha256:{h}",
    "/v2/{r}/blobs/sha256%3A{h}",
    "/v2/{r}/blobs/sha256:{H}",
    "/v2/{r}/blobs/SHA256:{h}",
    "/v2/{R}/blobs/sha256:{h}",
    "/v2/{r}/blobs/sha256:{h}/",
    "/v2/{r}/blobs/sha256:{h}%00",
    "/v2/{r}/blobs/sha256:{h}%00.json",
    "/v2/{r}/blobs/sha256:{h}#",
    "/v2/{r}/blobs/sha256:{h};x",
    "/v2/{r}/blobs/sha256:{h}%20",
    "/v2/{r}/blobs/sha512:{h}",
    "/v2/{r}\\/blobs/sha256:{h}",
    "/v2/{r}/_blobs/sha256/{h}",
    "/v2/{r}/_blobs/sha256:{h}",
    "/v2/{r}/_blobs/blobs/sha256:{h}",
    "/v2/{r}/manifests/sha256:{h}",
    "/v2/{r}/blobs/sha256:{h}.json",
    "/V2/{r}/blobs/sha256:{h}",
    "/v2/{r}/BLOBS/sha256:{h}",
    "/v2/{r}/blobs/sha256:{h}?ns=docker.io#",
    "/v2/{r}/blobs/sha256:{h}?ns=docker.io?ns=docker.io",
    "/v2/{r}/blobs/sha256:{h}?ns=..",
    "/v2/{r}/blobs/sha256:{h}?ns=-",
    "/v2/{r}/blobs/sha256:{h}?ns=../repositories",
    "/repositories/{r}/_blobs/sha256/{h}",
    "/_registry-cache/blobs/sha256/{h2}/{h}",
    "/v2/../_registry-cache/blobs/sha256/{h2}/{h}",
    "/v2/x%2f../../_registry-cache/blobs/sha256/{h2}/{h}",
]
# To what the registry OTHER alone has: {s} is the repository's name, {h} the blob's.
TO_OTHERS = [
    "/v2/{s}/blobs/sha256:{h}",
    "/v2/docker.io/{s}/blobs/sha256:{h}",
    "/v2/{r}/../../{o}/{s}/blobs/sha256:{h}",
    "/v2/{r}/..%2f..%2f{o}/{s}/blobs/sha256:{h}",
    "/v2/docker.io/../{o}/{s}/blobs/sha256:{h}?ns=docker.io",
    "/v2/{o}/{s}/blobs/sha256:{h}?ns=docker.io",
    "/v2/{s}/blobs/sha256:{h}?ns=docker.io/../{o}",
    "/v2/{s}/blobs/sha256:{h}?ns=docker.io&ns={o}",
    "/v2/-/v2/{s}/blobs/sha256:{h}",
    "/v2/plainly:-/v2/{o}/{s}/blobs/sha256:{h}",
]


@pytest.fixture(scope="module")
def facts(shared_behind: Behind) -> dict[str, str]:
    """What stands for the letters in braces; both blobs are stored."""
    behind, r, s = shared_behind, shared_behind.repository(), shared_behind.repository()
    blob, secret = behind.upstream.add_blob(b"not " + SECRET, r), behind.other.add_blob(SECRET, s)
    assert behind.direct.blob(blob, r).status == 200
    assert behind.direct.get(f"/v2/{OTHER}/{s}/blobs/{secret}").body == SECRET
    h = blob[7:]
    return {"r": r, "R": r.upper(), "e": r.replace("/", "%2f"), "h": h, "H": h.upper(), "h2": h[:2]} | {
        "s": s,
        "o": OTHER,
        "secret": secret[7:],
    }


@pytest.mark.parametrize("form", ODD)
def test_an_odd_spelling_is_never_answered_from_a_file(behind: Behind, facts: dict[str, str], form: str) -> None:
    answer = raw_client.ask(behind.nginx.address, _request(form.format(**facts)))

    # Where the application reads it all the same, it says so itself.
    if answer.status == 200:
        assert behind.passed_on(answer) != "-"
    else:
        assert 400 <= answer.status < 500
        assert answer.body.startswith(b'{"errors":')


@pytest.mark.parametrize("form", TO_OTHERS)
def test_no_way_leads_to_another_registrys_blobs(behind: Behind, facts: dict[str, str], form: str) -> None:
    answer = raw_client.ask(behind.nginx.address, _request(form.format(**{**facts, "h": facts["secret"]})))

    assert 400 <= answer.status < 500
    assert SECRET not in answer.body


@pytest.mark.parametrize("name", ["X-Accel-Redirect", "X-Registry-Cache-Accel", "X-Original-URI", "X-Rewrite-URL"])
def test_headers_open_nothing(behind: Behind, facts: dict[str, str], name: str) -> None:
    hidden = f"/_registry-cache/blobs/sha256/{facts['secret'][:2]}/{facts['secret']}"

    answer = behind.direct.get(f"/v2/{facts['r']}/blobs/sha256:{facts['h']}", {name: hidden})

    assert (answer.status, answer.body) == (200, b"not " + SECRET)


def test_the_applications_own_port_never_answers_with_a_path_for_nginx(behind: Behind, facts: dict[str, str]) -> None:
    answer = behind.app.get(f"/v2/{facts['r']}/blobs/sha256:{facts['h']}", {"X-Registry-Cache-Accel": "on"})

    assert answer.headers["X-Accel-Redirect"] is None
    assert answer.body == b"not " + SECRET


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\n\r\n%b",
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
        b"Content-Length: 0, %d\r\n\r\n%b",
        b"Transfer-Encoding: x, chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n",
    ],
)
def test_a_request_inside_a_body_is_none(behind: Behind, facts: dict[str, str], framing: bytes) -> None:
    inner = _request(f"/v2/{OTHER}/{facts['s']}/blobs/sha256:{facts['secret']}")
    outer = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + framing % (len(inner), inner)

    _, _, body = raw_client.exchange(behind.nginx.address, outer, ends=False).partition(b"\r\n\r\n")

    assert SECRET not in body
    assert b"HTTP/1." not in body
    # The connection to the application is kept, and nothing is left in it for the next request.
    assert behind.direct.get("/v2/").body == b"{}"


def _request(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
