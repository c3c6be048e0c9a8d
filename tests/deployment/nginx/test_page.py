"""The page through nginx, where `registry-cache nginx --page` asked for it."""

from __future__ import annotations

from collections.abc import Iterator

import bcrypt
import pytest

from tests.harness.nginx_rig import Behind, running
from tests.harness.page_rig import debug_address
from tests.harness.programs import short_folder
from tests.harness.pullers import login

LOGIN = login("me", "correct horse")
# What the rendered file has in the place of the address that the kernel chooses.
ANYWHERE = "127.0.0.1:5001"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Behind]:
    with short_folder() as folder:
        entry = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"me:{entry}\n", encoding="utf-8")
        config = {
            "auth": {"htpasswd": {"realm": "the cache", "path": str(folder / "htpasswd")}},
            "http": {"accel": True, "debug": {"addr": "127.0.0.1:0"}},
        }

        def with_address(text: str) -> str:
            return text.replace(ANYWHERE, debug_address((folder / "cache" / "log").read_text))

        with running(folder, config, auth=True, headers={}, page=ANYWHERE, altered=with_address) as behind:
            yield behind


def test_it_is_for_who_may_pull(guarded: Behind) -> None:
    answer = guarded.direct.get("/ui/")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="the cache"')
    assert b"Serving" not in answer.body
    assert guarded.direct.get("/ui/", login("me", "wrong")).status == 401

    page = guarded.direct.get("/ui/", LOGIN)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Serving." in page.body
    assert page.headers.get_all("Content-Security-Policy") == [page.headers["Content-Security-Policy"]]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    assert guarded.direct.get("/ui/images?q=a", LOGIN).status == 200
    assert guarded.direct.get("/ui/style.css", LOGIN).headers["Content-Type"] == "text/css; charset=utf-8"


def test_it_is_read_and_nothing_else(guarded: Behind) -> None:
    assert guarded.direct.request("POST", "/ui/", headers=LOGIN).status == 405
    assert guarded.direct.get("/ui/none", LOGIN).status == 404
    # Beside it nothing of the address for monitoring can be reached.
    for path in ("/ui/../metrics", "/metrics", "/debug/health"):
        assert guarded.direct.get(path, LOGIN).status in (400, 404)
