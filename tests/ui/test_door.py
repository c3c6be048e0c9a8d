"""To whom the page is shown, and what its answers allow a browser."""

from __future__ import annotations

import re
from pathlib import Path

import bcrypt

from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.page_rig import debug_url, watched_cache
from tests.harness.pullers import login


def users(folder: Path) -> dict[str, object]:
    """A configuration with one user, alice, whose password is "secret"."""
    file = folder / "htpasswd"
    file.write_text(f"alice:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}\n", encoding="utf-8")
    return {"auth": {"htpasswd": {"realm": "mirror", "path": str(file)}}}


def test_on_this_machine_it_is_there_without_a_login(
    make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path
) -> None:
    cache = watched_cache(make_cache, users(tmp_path))
    url = debug_url(cache)
    assert f", the page on {url}/ui/\n" in cache.log_text()
    page = make_puller(url).get("/ui/")

    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"Serving." in page.body
    assert page.headers["Cache-Control"] == "no-store"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "*" not in policy
    for name in re.findall(rb'href="/ui/docs/([^"]+)"', page.body):
        document = make_puller(url).get(f"/ui/docs/{name.decode()}")
        assert (document.status, document.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert document.headers["X-Content-Type-Options"] == "nosniff"
    assert make_puller(url).get("/ui/docs/setup.cfg").status == 404


def test_clients_of_the_registry_find_no_page(make_cache: MakeCache, make_puller: MakePuller) -> None:
    cache = watched_cache(make_cache)
    for path in ("/ui/", "/ui/style.css", "/ui/anything"):
        answer = make_puller(cache.url).get(path)
        assert (answer.status, answer.headers["Content-Type"]) == (404, "application/json")
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_it_is_read_and_nothing_else(make_cache: MakeCache, make_puller: MakePuller) -> None:
    puller = make_puller(debug_url(watched_cache(make_cache)))
    assert [puller.request(method, "/ui/").status for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS")] == [
        405
    ] * 5
    assert (puller.head("/ui/").status, puller.head("/ui/").body) == (200, b"")
    assert puller.get("/ui/no-such-page").status == 404


def test_a_web_site_that_names_our_address_its_own_reads_nothing(
    make_cache: MakeCache, make_puller: MakePuller
) -> None:
    config = {"http": {"host": "https://mirror.lan", "debug": {"addr": "127.0.0.1:0", "hosts": ["cache.lan"]}}}
    puller = make_puller(debug_url(watched_cache(make_cache, config)))

    for host in ("cache.lan", "mirror.lan:5001", "localhost:5001", "127.0.0.1"):
        assert puller.get("/ui/", {"Host": host}).status == 200
    for path in ("/ui/", "/ui/style.css"):
        answer = puller.get(path, {"Host": "evil.example"})
        assert (answer.status, answer.json()["errors"][0]["code"]) == (403, "DENIED")
        assert b"http.debug.hosts" in answer.body


def test_elsewhere_it_asks_for_a_login(make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path) -> None:
    cache = watched_cache(make_cache, {"http": {"debug": {"addr": ":0"}}, **users(tmp_path)})
    puller = make_puller(debug_url(cache))

    answer = puller.get("/ui/")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="mirror"')
    assert puller.get("/ui/", login("alice", "wrong")).status == 401
    assert puller.get("/ui/", login("alice", "secret")).status == 200
    # Monitoring goes on without.
    assert puller.get("/healthz").status == 200


def test_elsewhere_and_without_users_it_does_not_exist(make_cache: MakeCache, make_puller: MakePuller) -> None:
    cache = watched_cache(make_cache, {"http": {"debug": {"addr": ":0"}}})
    puller = make_puller(debug_url(cache))

    assert (puller.get("/ui/").status, puller.get("/ui/style.css").status) == (404, 404)
    assert "the page on" not in cache.log_text()
