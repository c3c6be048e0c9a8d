"""Logins: a hit that nginx answers itself is for users of the htpasswd file, too."""

from collections.abc import Iterator

import bcrypt
import pytest

from tests.harness.images import KiB, make_image
from tests.harness.nginx_rig import Behind, both, running, shown
from tests.harness.programs import short_folder
from tests.harness.pullers import login

PASSWORD = "correct horse"
LOGIN = login("me", PASSWORD)
COST = 4  # bcrypt's least
CORS = {"Access-Control-Allow-Origin": ["https://ui.example"], "Access-Control-Allow-Methods": ["GET"]}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Behind]:
    with short_folder() as folder:
        entry = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode()
        (folder / "htpasswd").write_text(f"me:{entry}\n", encoding="utf-8")
        config = {
            "auth": {"htpasswd": {"realm": "the cache", "path": str(folder / "htpasswd")}},
            "http": {"accel": True, "headers": CORS},
        }
        with running(folder, config, auth=True, headers=CORS, cors=True) as behind:
            yield behind


@pytest.fixture
def paths(guarded: Behind) -> list[str]:
    """A manifest and a blob that are stored."""
    name = guarded.repository()
    image = make_image(guarded.upstream, name, tag="1", layers=1, layer_size=KiB)
    found = [f"/v2/{name}/manifests/{image.digest}", f"/v2/{name}/blobs/{image.layers[0]}"]
    assert [guarded.app.get(path, LOGIN).status for path in found] == [200, 200]
    return found


def test_without_a_login_there_is_the_applications_own_challenge(guarded: Behind, paths: list[str]) -> None:
    for path in paths:
        by_app, by_nginx = guarded.app.get(path), guarded.direct.get(path)
        assert by_nginx.status == by_app.status == 401
        assert shown(by_nginx.headers) == shown(by_app.headers)
        assert by_nginx.headers.get_all("WWW-Authenticate") == ['Basic realm="the cache"']
        assert by_nginx.json()["errors"][0]["code"] == by_app.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_a_wrong_password_is_not_let_in_after_a_right_one(guarded: Behind, paths: list[str]) -> None:
    # One: each failure is slowed.
    for headers, status in ((LOGIN, 200), (login("me", "wrong"), 401), (LOGIN, 200)):
        assert guarded.direct.get(paths[0], headers).status == status


def test_a_user_gets_hits_from_nginx_and_the_application_is_asked_once_in_seconds(
    guarded: Behind, paths: list[str]
) -> None:
    before = guarded.cache.log_text().count("path=/v2/ ")
    for _ in range(20):
        for path in paths:
            assert both(guarded, path, LOGIN).headers["X-Cache"] == "hit"
    answer = guarded.direct.get(paths[0], LOGIN)
    # Of forty and more hits; a machine that stands still for seconds asks again.
    assert guarded.cache.log_text().count("path=/v2/ ") - before < 20
    assert guarded.passed_on(answer) in ("-", "200")
    assert guarded.cache.log_text().count(f"id={answer.headers['X-Request-Id']} ") <= 1


def test_what_is_not_a_hit_asks_for_a_login_itself(guarded: Behind) -> None:
    for path in ("/v2/", "/v2/library/app/manifests/1", "/nope"):
        assert guarded.direct.get(path).status == 401


def test_a_browser_may_ask_without_a_login_what_a_page_may_do(guarded: Behind, paths: list[str]) -> None:
    for path in (*paths, "/v2/"):
        answer = both(guarded, path, {"Origin": "https://ui.example"}, "OPTIONS")
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://ui.example")
        assert both(guarded, path, method="POST").status == 405
