"""Any request gets an answer of the API: never a defect of ours, and nothing in it that is no client's business.

In process, without gunicorn, which refuses much of this before the application sees it.
"""

from __future__ import annotations

import io
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from registry_cache import __version__
from tests.harness.application import DIGEST, HTPASSWD, PASSWORD, ROOT, STATUSES, make_application

# None of them is anybody's business.
SECRETS = (ROOT, PASSWORD, HTPASSWD, __version__, "Traceback", "/registry_cache/", "Python", "Werkzeug", "$2b$")


@dataclass(frozen=True)
class Rig:
    """The application, and what it logs."""

    app: Flask
    told: io.StringIO


@pytest.fixture(scope="module", params=[False, True], ids=["open", "with logins"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, socket.socket() as unheard:
        # Bound and not listening: it refuses, and is nobody else's meanwhile.
        unheard.bind(("127.0.0.1", 0))
        patch.setattr(sys, "stderr", told)
        patch.setattr("registry_cache.auth.slowdown.MAX_SECONDS", 0.0)
        folder = tmp_path_factory.mktemp("requests")
        yield Rig(make_application(folder, unheard.getsockname()[1], guarded=request.param), told)


WORDS = (
    "v2 _catalog library app ghcr.io other.example nowhere.example docker.io manifests blobs uploads tags list latest "
    f"referrers {DIGEST} {DIGEST.upper()} sha256: sha512:{'0' * 128} .. . %2e %2f %00 %zz % _tags {'a' * 300} - * é "
    "\u212a \udcff metrics healthz readyz debug health"
)
PARTS = st.sampled_from(WORDS.split(" ")) | st.text(max_size=6)
LINES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)
FIELDS = (
    "Host Range If-Range If-None-Match If-Modified-Since If-Match Authorization Accept X-Forwarded-For Forwarded "
    "X-Forwarded-Proto X-Forwarded-Host X-Request-Id User-Agent Content-Type Content-Length Transfer-Encoding Expect "
    "Cookie X-Registry-Cache-Accel X-HTTP-Method-Override"
)
NAMES = st.sampled_from(FIELDS.split())
ODD_VALUES = (
    f'bytes=0-|bytes=5-1|bytes={"9" * 40}-|bytes=-0|bytes=0-1,3-4|W/|*|"{DIGEST}"|Basic YWxpY2U6c2VjcmV0|Basic !|Basic|'
    f"Bearer {'x' * 100}|chunked|5|-1|gzip|{'a' * 5000}|127.0.0.1|::1, 1.2.3.4|for=x;proto=y|text/html|a@b|[::1]:99999|"
    f"Wed, 21 Oct 2015 07:28:00 GMT|{'9' * 100}|on|off"
)
VALUES = LINES | st.sampled_from(ODD_VALUES.split("|"))
METHODS = st.sampled_from([*["GET"] * 8, "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
ODD_QUERIES = ["ghcr.io", "docker.io", "..", "0", "-1", "9" * 22, "²", "", "a\r\nX: y", "%ff"]
QUERIES = st.dictionaries(
    st.sampled_from(["ns", "n", "last", "artifactType", "digest", "from"]),
    st.sampled_from(ODD_QUERIES) | st.text(max_size=8),
    max_size=3,
)


@st.composite
def environs(draw: st.DrawFn) -> dict[str, object]:
    """What a server hands over for a request, by PEP 3333: text of Latin-1."""
    shape = draw(st.sampled_from(["", "/v2/", "/v2/{}/manifests/{}", "/v2/{}/blobs/{}", "/v2/{}/tags/list"]))
    holes = [draw(PARTS) for _ in range(shape.count("{}"))]
    path = shape.format(*holes) if shape else "/" + "/".join(draw(st.lists(PARTS, max_size=5)))
    raw = path.encode("utf-8", "surrogateescape" if draw(st.booleans()) else "surrogatepass")
    environ = EnvironBuilder("/", method="GET", query_string=draw(QUERIES)).get_environ()
    environ |= {"REQUEST_METHOD": draw(METHODS), "PATH_INFO": raw.decode("latin-1"), "REMOTE_ADDR": "127.0.0.1"}
    environ |= {"RAW_URI": draw(st.sampled_from(["", path, "//x", "http://x/v2/"]))}
    if draw(st.booleans()):
        environ["QUERY_STRING"] = draw(LINES)
    if draw(st.booleans()):
        environ["REMOTE_ADDR"] = draw(st.sampled_from(["", "::1", "192.0.2.1", "no address"]))
    for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items():
        cgi = name.upper().replace("-", "_")
        environ[cgi if cgi.startswith("CONTENT_") else f"HTTP_{cgi}"] = value
    return environ


@settings(max_examples=150)
@given(environ=environs())
def test_any_request(rig: Rig, environ: dict[str, object]) -> None:
    rig.told.seek(0)
    rig.told.truncate()

    body, status, headers = run_wsgi_app(rig.app.wsgi_app, environ, buffered=True)
    data, code = b"".join(body), int(status.split()[0])

    assert code in STATUSES, (status, data, rig.told.getvalue())
    if code >= 400 and environ["REQUEST_METHOD"] != "HEAD":
        assert headers["Content-Type"] == "application/json"
        (error,) = json.loads(data)["errors"]
        assert set(error) >= {"code", "message"}
    # What the client itself said is repeated to it.
    said = "".join(str(value) for value in environ.values())
    told = data.decode("latin-1") + str(headers)
    if environ["PATH_INFO"] != "/metrics":
        assert [secret for secret in SECRETS if secret in told and secret not in said] == []
    assert "Traceback" not in rig.told.getvalue()
    assert PASSWORD not in rig.told.getvalue()


def test_a_broken_disk_tells_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        client = make_application(tmp_path, unheard.getsockname()[1]).test_client()
        for name in ("blobs", "partial", "locks", "repositories"):
            folder = tmp_path / ROOT / name
            folder.rename(folder.with_name(f"no-{name}"))
            folder.write_bytes(b"no folder")
        of_app = [f"blobs/{DIGEST}", f"manifests/{DIGEST}", "manifests/latest", "tags/list", f"referrers/{DIGEST}"]
        for path in ("_catalog", *(f"library/app/{each}" for each in of_app)):
            answer = client.get(f"/v2/{path}")
            assert answer.status_code in STATUSES | {500}
            assert answer.status_code == 200 or answer.get_json()["errors"]
            told = answer.get_data(as_text=True) + str(answer.headers)
            assert [secret for secret in SECRETS if secret in told] == []
    assert "Traceback" not in capsys.readouterr().err
