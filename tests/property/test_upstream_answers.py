"""Whatever an upstream answers, clients get a valid answer of the API, without an internal error and without secrets.

In process, with an upstream that says exactly the bytes it is given. Bodies of blobs are in test_faults.py.
"""

from __future__ import annotations

import gc
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.harness.application import DIGEST, PASSWORD, ROOT, STATUSES, make_application
from tests.harness.raw import RawServer

PATHS = st.sampled_from(
    [
        "manifests/latest",
        f"manifests/{DIGEST}",
        "tags/list?n=1",
        "tags/list",
        f"referrers/{DIGEST}",
        f"HEAD blobs/{DIGEST}",
    ]
)
STATUS_LINES = st.sampled_from(
    [*[200] * 4, 204, 206, 301, 307, 304, 400, *[401] * 2, 403, 404, 416, 429, 500, 503, 599]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([DIGEST, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["token", "access_token", "expires_in", "tags", "manifests", "digest", "size", "mediaType"])
            | st.sampled_from(["errors", "message", "subject", "layers", "artifactType"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
BODIES = (
    JSON.map(lambda document: json.dumps(document).encode())
    | st.binary(max_size=20)
    | st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b'{"tags": ["\\ud800", "b"]}', b'{"token": "t"}'])
)
# {url} stands for the upstream's URL.
HEADERS = st.lists(
    st.sampled_from(
        [
            'WWW-Authenticate: Bearer realm="{url}/token",service="s",scope="repository:library/app:pull"',
            'WWW-Authenticate: Bearer realm="http://[/"',
            'WWW-Authenticate: Bearer realm="http://elsewhere.example/"',
            'WWW-Authenticate: Bearer realm="{url}:x/"',
            'WWW-Authenticate: Basic realm="x"',
            "WWW-Authenticate: , ,=",
            f"Docker-Content-Digest: {DIGEST}",
            "Docker-Content-Digest: sha256:../../x",
            "Content-Type: application/vnd.oci.image.index.v1+json",
            "Content-Type: \xff; charset=\xff",
            "Content-Encoding: gzip",
            "Location: {url}/elsewhere",
            "Location: http://[",
            "Location: ftp://127.0.0.1/",
            "Location: http://127.0.0.1:99999/",
            "Location: \xff",
            'Link: <//[>; rel="next"',
            'Link: </x?last=%ff&n=1>; rel="next"',
            "Link: ;;;,<",
            "Retry-After: 99999999999999999999",
            "Retry-After: Mon, 01 Jan 99999999999 00:00:00 GMT",
            "Ratelimit-Limit: 100;w=21600",
            "Ratelimit-Remaining: \xb2;w=-1",
            "Content-Length: -1",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: chunked",
            "Set-Cookie: a=b; expires=x; domain=[",
            "No-Colon",
        ]
    ),
    max_size=3,
)


@dataclass(frozen=True)
class Said:
    """One answer of an upstream."""

    status: int
    headers: list[str]
    body: bytes
    whole: bool

    def data(self, url: str) -> bytes:
        lines = [f"HTTP/1.1 {self.status} X", *(line.replace("{url}", url) for line in self.headers)]
        if not any(line.startswith(("Content-Length", "Transfer-Encoding")) for line in lines):
            lines.append(f"Content-Length: {len(self.body) + (0 if self.whole else 5)}")
        return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + self.body


SAID = st.builds(Said, STATUS_LINES, HEADERS, BODIES, st.sampled_from([True, True, True, False]))


@pytest.fixture(scope="module")
def told() -> Iterator[io.StringIO]:
    """The log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", io.StringIO())
        yield sys.stderr  # type: ignore[misc]
    # Warn about unclosed connections here, not in a later test.
    gc.collect()


# Each example drops an application with the connections in its pool.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=50)
@given(path=PATHS, said=st.lists(SAID, min_size=1, max_size=3))
@example(path="tags/list?n=1", said=[Said(200, ['Link: <//[>; rel="next"'], b'{"tags": ["\\ud800", "b"]}', whole=True)])
@example(
    path="manifests/latest", said=[Said(429, ["Retry-After: Mon, 01 Jan 99999999999 00:00:00 GMT"], b"", whole=True)]
)
@example(
    path=f"referrers/{DIGEST}", said=[Said(200, [], b'{"manifests": [{"a":' + b"[" * 970 + b"]" * 970 + b"}]}", True)]
)
def test_any_answer(told: io.StringIO, path: str, said: list[Said]) -> None:
    before = len(told.getvalue())
    server = RawServer()
    try:
        server._answers = tuple(each.data(server.url) for each in said)
        with tempfile.TemporaryDirectory() as folder:
            client = make_application(Path(folder), urlsplit(server.url).port or 0).test_client()
            method, _, rest = path.rpartition(" ")
            answer = client.open(f"/v2/library/app/{rest}", method=method or "GET")
    finally:
        server.stop()

    log = told.getvalue()[before:]
    assert answer.status_code in STATUSES | {403}, (answer.status_code, answer.get_data(), log)
    assert "Traceback" not in log, log
    # A manifest may be any bytes.
    shown = answer.get_data().decode("latin-1") + str(answer.headers)
    assert PASSWORD not in shown + log
    assert ROOT not in shown
