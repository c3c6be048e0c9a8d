"""Logins by an htpasswd file, with the real server: who gets in, what it costs, and what is told to nobody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import pytest

from tests.harness.components import require
from tests.harness.images import make_image, random_bytes
from tests.harness.programs import environment, run
from tests.harness.pullers import Answer, Puller, login
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

PASSWORD = "correct horse"
LOGIN = login("alice", PASSWORD)
# bcrypt's least: what a login costs is not measured here, but counted.
COST = 4
COMPARED = "compared by bcrypt"
REALM = 'the "big" cache'
LONG_AGO = 1_000_000_000


class Guarded:
    """A server with an htpasswd file, and a client of it."""

    def __init__(self, folder: Path, upstream: FakeUpstream) -> None:
        folder.mkdir()
        self.file = folder / "htpasswd"
        # As operators make it; -i reads the password from standard input.
        make = [require("htpasswd"), "-c", "-i", "-B", "-C", str(COST), str(self.file), "alice"]
        subprocess.run(make, input=PASSWORD, text=True, check=True, capture_output=True)
        settings = {"auth": {"htpasswd": {"realm": REALM, "path": str(self.file)}}, "log": {"level": "debug"}}
        self.cache = CacheServer(folder / "cache", upstream.url, config=settings)
        self.puller = Puller(self.cache.url)

    def get(self, headers: dict[str, str], path: str = "/v2/") -> Answer:
        return self.puller.get(path, headers)

    def status(self, headers: dict[str, str]) -> int:
        return self.get(headers).status

    def until_each_says(self, status: int, headers: dict[str, str]) -> None:
        """Wait for it in one worker after the other: each looks at the file for itself, when it is asked."""
        workers = Workers(self.cache)
        for worker in (workers.first, workers.second):
            with workers.only(worker):
                eventually(lambda: self.status(headers) == status)

    def write(self, content: str) -> None:
        """In one step; and not as if somebody were still writing."""
        beside = self.file.with_suffix(".new")
        beside.write_text(content, encoding="utf-8")
        os.utime(beside, (LONG_AGO, LONG_AGO))
        beside.replace(self.file)


@pytest.fixture(scope="module")
def guarded(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path_factory.mktemp("auth") / "guarded", shared_upstream)
    yield guarded
    guarded.puller.close()
    guarded.cache.stop()
    told = guarded.cache.log_text()
    for secret in (PASSWORD, LOGIN["Authorization"].split()[1], "wrong!"):
        assert secret not in told


def test_fifty_requests_cost_one_bcrypt_a_worker(guarded: Guarded) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(guarded.status, [LOGIN] * 50))

    assert answers == [200] * 50
    assert guarded.cache.log_text().count(f"{COMPARED} user=alice right=True") <= len(guarded.cache.workers())


def test_a_login_is_no_matter_of_case_and_of_nobody_else(guarded: Guarded, upstream: FakeUpstream) -> None:
    blob = upstream.add_blob(data := random_bytes(100_000, seed=1))
    headers = {"Authorization": LOGIN["Authorization"].replace("Basic", "bAsIc")}

    assert guarded.get(headers).status == 200
    assert guarded.get(headers, f"/v2/library/app/blobs/{blob}").body == data
    assert upstream.exchanges
    assert all("Authorization" not in exchange.headers for exchange in upstream.exchanges)
    assert "user=alice" in guarded.cache.log_text()


def test_skopeo_logs_in_and_copies(guarded: Guarded, upstream: FakeUpstream, tmp_path: Path) -> None:
    image = make_image(upstream, tag="1", layers=3)
    skopeo, env = (
        [require("skopeo"), "--insecure-policy"],
        environment(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path / "a")),
    )
    source, target = f"docker://{guarded.cache.address}/library/app:1", f"dir:{tmp_path / 'copy'}"
    copy = [*skopeo, "copy", "--src-tls-verify=false", source, target]

    stranger = run(copy, env)
    assert stranger.returncode != 0
    assert "unauthorized" in stranger.stderr.lower()

    log_in = [*skopeo, "login", "--tls-verify=false", "--username=alice", f"--password={PASSWORD}"]
    result = run([*log_in, guarded.cache.address], env)
    assert result.returncode == 0, result.stderr
    result = run(copy, env)
    assert result.returncode == 0, result.stderr
    assert {layer.partition(":")[2] for layer in image.layers} <= {file.name for file in (tmp_path / "copy").iterdir()}


# Below, logins fail, each for longer than the one before.
def test_a_changed_file_is_taken_and_a_broken_one_is_not(guarded: Guarded) -> None:
    content = guarded.file.read_text(encoding="utf-8")
    bob = bcrypt.hashpw(b"builder", bcrypt.gensalt(COST)).decode()
    guarded.write(f"bob:{bob}\n")
    guarded.until_each_says(401, LOGIN)
    guarded.until_each_says(200, login("bob", "builder"))

    guarded.write("bob:builder\n")
    told = guarded.cache.log_text
    eventually(lambda: guarded.status(login("bob", "builder")) == 200 and "cannot be used" in told())

    guarded.write(content)
    guarded.until_each_says(200, LOGIN)
    assert "builder" not in told()
    assert told().count("cannot be used") <= 2


REFUSED = {
    "no header": {},
    "another scheme": {"Authorization": "Bearer abc"},
    "a wrong password": login("alice", "wrong!"),
    "no user": login("mallory", PASSWORD),
    "a longer password": login("alice", PASSWORD + "x" * 72),
    "no base64": {"Authorization": "Basic ***"},
    "no colon": {"Authorization": "Basic YWxpY2U="},
}


def test_who_is_asked_to_log_in(guarded: Guarded) -> None:
    def ask(headers: dict[str, str]) -> Answer:
        # Of an address with several failures, few are compared at once.
        return next(answer for _ in range(100) if (answer := guarded.get(headers)).status != 429)

    with ThreadPoolExecutor(len(REFUSED)) as pool:
        answers = dict(zip(REFUSED, pool.map(ask, REFUSED.values()), strict=True))
    for what, answer in answers.items():
        assert answer.status == 401, what
        assert answer.headers.get_all("WWW-Authenticate") == ['Basic realm="the \\"big\\" cache"']
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
        (error,) = answer.json()["errors"]
        assert error["code"] == "UNAUTHORIZED"
        assert f"docker login {guarded.cache.address}" in error["message"]
    assert b"and bcrypt would compare only the first 72" in answers["a longer password"].body
    assert "login failed client=127.0.0.1 user=mallory reason=" in guarded.cache.log_text()


def test_all_but_the_operators_tools_is_guarded(guarded: Guarded) -> None:
    for path in ("/v2/library/app/manifests/1", "/v2/_catalog", "/v2", "/debug/health", "/metrics/", "/v2/../metrics"):
        assert guarded.get({}, path).status == 401, path
    head = guarded.puller.head("/v2/library/app/manifests/1")
    assert (head.status, head.body) == (401, b"")
    for path in ("/metrics", "/"):
        assert guarded.get({}, path).status == 200, path
