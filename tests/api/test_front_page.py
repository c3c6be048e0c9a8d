"""What `/` says to probes and to people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.application import make_application


@pytest.mark.parametrize("guarded", [False, True])
def test_a_probe_of_the_front_page_finds_a_server(tmp_path: Path, guarded: bool) -> None:
    client = make_application(tmp_path, 9, guarded=guarded).test_client()

    for path in ("/", "/?probe=1"):
        page, head = client.get(path), client.head(path)
        assert (page.status_code, head.status_code, head.data) == (200, 200, b"")
        assert page.headers["Cache-Control"] == "no-cache"
        assert page.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "WWW-Authenticate" not in page.headers
        assert '<a href="https://' in page.text
    assert client.post("/").status_code == 405
