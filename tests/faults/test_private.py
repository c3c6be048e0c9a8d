"""Private repositories need the operator's account; nobody else ever hears of it, and nobody is ever challenged."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry_cache.upstream.credentials.account import REFUSED_SECONDS
from tests.harness.images import KiB, make_image
from tests.harness.pullers import Answer, Puller
from tests.harness.raw import RawServer
from tests.harness.server import CacheServer
from tests.harness.telling import code, message, told
from tests.harness.upstream import FakeUpstream

PRIVATE, PUBLIC = "team/app", "library/app"
SECRET, WRONG, NETRC, PROXY = "correct-horse-battery", "wrong-horse-battery", "netrc-battery", "proxy-battery"
# As they would look on the way to a token server.
BASIC = [base64.b64encode(f"me:{each}".encode()).decode() for each in (SECRET, WRONG, NETRC)]
SECRETS = [SECRET, WRONG, NETRC, PROXY, *BASIC]

WAYS: dict[str, dict[str, Any]] = {
    "inline": {"username": "me", "password": SECRET},
    "environment": {"username": "me", "password_env": "THE_PASSWORD"},
    "file": {"username": "me", "password_file": "{folder}/password"},
    "helper": {"exec": {"command": "{folder}/helper"}},
    "wrong": {"username": "me", "password": WRONG},
    "counted": {"username": "me", "password": WRONG},
    "broken-helper": {"exec": {"command": "{folder}/broken"}},
    "anonymous": {},
}
ALLOWED = ["inline", "environment", "file", "helper"]


@dataclass
class World:
    """One cache; every way to give it an account is an upstream of its own, ``registries[way]``."""

    cache: CacheServer
    registries: dict[str, FakeUpstream]
    puller: Puller

    def manifest(self, way: str, repository: str, tag: str = "1") -> Answer:
        return self.puller.manifest(tag, f"{way}/{repository}")


def script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("private")
    (folder / "password").write_text(f"{SECRET}\n", encoding="utf-8")
    script(folder / "helper", f"""echo '{{"Username":"me","Secret":"{SECRET}"}}'""")
    script(folder / "broken", f"echo {SECRET}; echo the session of account 4711 is over >&2; exit 1")
    # What the environment would add, did it leak in.
    trap = RawServer(b"HTTP/1.1 502 trapped\r\nContent-Length: 0\r\n\r\n")
    netrc = folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {NETRC}\n", encoding="utf-8")
    netrc.chmod(0o600)
    trapped = trap.url.replace("http://", f"http://me:{PROXY}@")
    environment = {
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), trapped),
        **{"NETRC": str(netrc), "REQUESTS_CA_BUNDLE": str(netrc), "CURL_CA_BUNDLE": str(netrc), "no_proxy": ""},
        "THE_PASSWORD": SECRET,
    }
    registries: dict[str, FakeUpstream] = {}
    upstreams: dict[str, dict[str, Any]] = {}
    for way, settings in WAYS.items():
        registries[way] = each = FakeUpstream()
        each.faults.require_token = True
        each.faults.private.add(PRIVATE)
        each.faults.users["me"] = SECRET
        given: dict[str, Any] = {
            key: str(value).replace("{folder}", str(folder)) for key, value in settings.items() if key != "exec"
        }
        if "exec" in settings:
            given["exec"] = {"command": settings["exec"]["command"].replace("{folder}", str(folder))}
        upstreams[way] = {"remoteurl": each.url, **given}
    default = FakeUpstream()
    cache = CacheServer(
        folder / "cache", default.url, config={"upstreams": upstreams}, environment=environment, workers=1
    )
    with Puller(cache.url) as puller:
        yield World(cache, registries, puller)
    cache.stop()
    for each in (default, *registries.values()):
        each.stop()
        assert not each.problems
    assert trap.requests == []
    trap.stop()
    assert default.exchanges == []
    said = cache.log_text()
    assert not [secret for secret in SECRETS if secret in said]


def honest(answer: Answer) -> None:
    """A refusal that challenges nobody and tells nothing."""
    assert "WWW-Authenticate" not in answer.headers
    assert not [secret for secret in SECRETS if secret in f"{answer.headers} {answer.body!r}"]


@pytest.mark.parametrize("way", ALLOWED)
def test_with_the_operators_account_private_repositories_work(world: World, way: str) -> None:
    registry = world.registries[way]
    image = make_image(registry, PRIVATE, tag="1", layers=2, layer_size=1 * KiB, seed=501)
    public = make_image(registry, PUBLIC, tag="1", layers=2, layer_size=1 * KiB, seed=502)
    assert told(world.manifest(way, PRIVATE)) == (200, "miss", image.digest)
    for blob in image.blobs:
        assert world.puller.blob(blob, f"{way}/{PRIVATE}").status == 200
    assert told(world.manifest(way, PUBLIC)) == (200, "miss", public.digest)
    assert {each.headers["Authorization"] for each in registry.token_requests} == {f"Basic {BASIC[0]}"}
    # The account goes to the token server alone; the registry sees tokens.
    for each in registry.requests(path="/v2/"):
        assert "Basic" not in each.headers.get("Authorization", "")


@pytest.mark.parametrize("way", ["anonymous", "wrong"])
def test_without_the_right_one_private_is_denied_and_public_works(world: World, way: str) -> None:
    registry = world.registries[way]
    secret = make_image(registry, PRIVATE, tag="1", layers=1, seed=503)
    public = make_image(registry, PUBLIC, tag="1", layers=1, layer_size=1 * KiB, seed=504)
    digest = registry.add_blob(b"for the team only", PRIVATE)
    for path in ("manifests/1", f"manifests/{secret.digest}", f"blobs/{digest}", "tags/list"):
        answer = world.puller.get(f"/v2/{way}/{PRIVATE}/{path}")
        assert code(answer) == (403, "DENIED")
        honest(answer)
        assert "it is private or does not exist" in message(answer)
        honest(world.puller.head(f"/v2/{way}/{PRIVATE}/{path}"))
    assert told(world.manifest(way, PUBLIC)) == (200, "miss", public.digest)
    for blob in public.blobs:
        assert world.puller.blob(blob, f"{way}/{PUBLIC}").status == 200
    assert {each.headers["Authorization"] for each in registry.token_requests} <= {None, f"Basic {BASIC[1]}"}


def test_a_wrong_password_is_said_loudly_and_not_tried_at_every_pull(world: World) -> None:
    registry, began = world.registries["counted"], time.monotonic()
    for number in range(4):
        make_image(registry, f"library/app{number}", tag="1", layers=1, seed=510 + number)
        assert world.manifest("counted", f"library/app{number}").status == 200
    tried = [each for each in registry.token_requests if each.headers["Authorization"]]
    assert 1 <= len(tried) <= 1 + (time.monotonic() - began) / REFUSED_SECONDS
    said = world.cache.log_text()
    assert said.count("upstream refused our account; going on anonymously upstream=counted") == len(tried)


def test_what_is_private_is_not_served_to_who_knows_its_digest(world: World) -> None:
    registry = world.registries["inline"]
    secret = registry.add_blob(b"the team's own" * 100, PRIVATE)
    assert world.puller.blob(secret, f"inline/{PRIVATE}").status == 200
    for path in (f"inline/{PUBLIC}", f"anonymous/{PRIVATE}", f"anonymous/{PUBLIC}"):
        answer = world.puller.blob(secret, path)
        assert answer.status in (403, 404), path
        honest(answer)


def test_a_helper_that_fails_is_told_without_what_it_said(world: World) -> None:
    answer = world.manifest("broken-helper", PRIVATE)
    assert code(answer) == (503, "UNAVAILABLE")
    honest(answer)
    assert "/broken failed: exit status 1" in message(answer)
    assert "4711" not in message(answer)
    assert "the session of account 4711 is over" in world.cache.log_text()


def test_a_password_that_is_changed_upstream_is_a_denial_and_not_a_challenge(world: World) -> None:
    registry = world.registries["file"]
    make_image(registry, PRIVATE, tag="changed", layers=1, seed=505)
    registry.tokens.revoke()
    registry.faults.users["me"] = "another one"
    try:
        answer = world.manifest("file", PRIVATE, "changed")
    finally:
        registry.faults.users["me"] = SECRET
    assert code(answer) == (403, "DENIED")
    honest(answer)


def test_a_registry_that_wants_a_password_and_no_token(world: World) -> None:
    registry = world.registries["environment"]
    image = make_image(registry, "team/basic", tag="1", layers=1, layer_size=1 * KiB, seed=506)
    registry.faults.require_basic = ("me", SECRET)
    try:
        assert told(world.manifest("environment", "team/basic")) == (200, "miss", image.digest)
        registry.faults.require_basic = ("me", "another one")
        answer = world.manifest("environment", "team/other")
        assert code(answer) == (403, "DENIED")
        honest(answer)
    finally:
        registry.faults.require_basic = None


def test_the_configuration_that_is_printed_holds_no_secret(world: World) -> None:
    printed = world.cache.run("config")
    assert printed.returncode == 0
    assert "username: me" in printed.stdout
    assert not [secret for secret in SECRETS if secret in printed.stdout + printed.stderr]
