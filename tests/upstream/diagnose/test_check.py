"""``registry-cache check`` before real sockets: what is wrong in words, what to do, no secret and no counted pull."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_cache import cli
from registry_cache.oci.names import Repository, Tag
from registry_cache.runtime.check_step import Step
from registry_cache.upstream.credentials.account import FixedAccount
from registry_cache.upstream.diagnose.check import UpstreamCheck
from registry_cache.upstream.diagnose.steps import CheckTarget
from registry_cache.upstream.session import TLS, Session, Timeouts
from tests.harness.content import APP
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import make_image
from tests.harness.programs import UNREAD
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream

PASSWORD = "hunter2"
# Far over what loopback needs on a busy machine.
TIMEOUT_SECONDS = 3.0


class Checked:
    """What one ``registry-cache check`` ended with; ``lines`` are those of the upstream."""

    def __init__(self, status: int, out: str) -> None:
        self.status = status
        self.out = out
        self.lines = out[out.index("\n127.0.0.1") :].splitlines()[2:] if "\n127.0.0.1" in out else []

    @property
    def last(self) -> str:
        return self.lines[-1].strip()

    @property
    def steps(self) -> list[tuple[str, str]]:
        """(state, name) of each."""
        return [(line.split()[0], line.split(":")[0].split(maxsplit=1)[1]) for line in self.lines]


Run = Callable[..., Checked]


@pytest.fixture
def check(
    tmp_path: Path, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """``check("library/app:1", url=…, username=…)``; nothing it prints may hold the password."""
    for name in [name for name in os.environ if name.startswith("REGISTRY_") or name in UNREAD]:
        monkeypatch.delenv(name)

    def run(
        *arguments: str, url: str | None = None, upstreams: Mapping[str, Any] | None = None, **proxy: Any
    ) -> Checked:
        file = tmp_path / "config.yml"
        settings: dict[str, Any] = {"storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}}}
        settings |= {"version": 0.1, "proxy": {"remoteurl": url or upstream.url, **proxy}, "upstreams": upstreams or {}}
        file.write_text(yaml.safe_dump(settings))
        status = cli.main(["check", "--config", str(file), *arguments])
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        assert not (tmp_path / "store").exists()
        return Checked(status, out or err)

    yield run
    upstream.faults.release()
    assert upstream.requests("GET", "/manifests/") == []
    assert upstream.counted_pulls == 0


def tried(
    url: str,
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    resolve: Any = None,
    lift_limit: Callable[[], bool] = lambda: False,
    **target: Any,
) -> list[Step]:
    """The steps of a check of ``library/app:1`` with a shorter time-out than the command's."""
    session = Session("fake", Timeouts(), TLS())
    found = UpstreamCheck(
        CheckTarget("fake", url, "proxy", **target),
        session,
        FixedAccount(None),
        resolve,
        timeout_seconds,
        lift_limit,
    )
    return list(found.run([(Repository(APP), Tag("1"))]))


def test_all_is_well(upstream: FakeUpstream, check: Run) -> None:
    image = make_image(upstream)

    done = check(f"{APP}:1")

    assert done.status == 0
    assert done.steps == [
        ("ok", "name"), ("ok", "connection"), ("ok", "answer"), ("ok", "credentials"), ("ok", "manifest"),
    ]  # fmt: skip
    assert done.last == f"ok      manifest: {APP}:1 is {image.digest}"
    assert [each.method for each in upstream.requests("HEAD", "/manifests/")] == ["HEAD"]


def test_a_proxy_that_is_not_used_is_named(upstream: FakeUpstream, check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_image(upstream)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    done = check()
    assert done.status == 0
    assert done.out.splitlines()[-2] == "configuration"
    assert done.last.startswith("warning HTTPS_PROXY is set and not read here; ")
    [warning] = json.loads(check("--json").out)["warnings"]
    assert warning.endswith("give the proxy's URL as proxy.httpproxy, and as upstreams.NAME.httpproxy")


@pytest.mark.parametrize(("rate_limit", "lifts"), [(None, True), (5, True), (0, False)])
def test_a_limit_that_is_over_is_forgotten(upstream: FakeUpstream, rate_limit: int | None, lifts: bool) -> None:
    make_image(upstream)
    upstream.faults.rate_limit = rate_limit
    asked: list[bool] = []

    def lift_limit() -> bool:
        asked.append(True)
        return True

    steps = tried(upstream.url, lift_limit=lift_limit)

    assert [each.words.endswith("the server asks it from now on") for each in steps].count(True) == lifts
    assert len(asked) == lifts


def test_the_store_is_tried_too(check: Run) -> None:
    done = check()
    assert done.out.splitlines()[1].startswith("store (")
    assert [line.split(":")[0].split()[-1] for line in done.out.splitlines()[2:7]] == [
        "folder", "room", "links", "attributes", "locks",
    ]  # fmt: skip


def test_without_a_reference_it_says_what_it_leaves_out(upstream: FakeUpstream, check: Run) -> None:
    upstream.faults.require_token = True
    done = check()
    assert done.status == 0
    assert done.steps[-2:] == [("skipped", "token"), ("skipped", "manifest")]
    assert done.last.endswith(f"registry-cache check {upstream.address}/REPOSITORY:TAG")


@pytest.mark.parametrize(
    ("password", "status", "expected"),
    [
        (PASSWORD, 0, "ok      token: 127.0.0.1:PORT accepts the account of proxy.username"),
        ("right", 1, "failed  token: the account was refused: check proxy.username and proxy.password"),
    ],
)
def test_an_account_is_tried_without_a_reference_too(
    upstream: FakeUpstream, check: Run, password: str, status: int, expected: str
) -> None:
    upstream.faults.require_token = True
    upstream.faults.users["me"] = password
    done = check(username="me", password=PASSWORD)
    assert done.status == status
    assert done.lines[3].strip().replace(upstream.address, "127.0.0.1:PORT") == expected
    (asked,) = [each for each in upstream.token_requests if each.headers["Authorization"]]
    assert (asked.query["account"], "scope" in asked.query) == (["me"], False)


@pytest.mark.parametrize("reference", [f"{APP}:1", None])
def test_an_account_that_nobody_asks_for_is_not_called_good(
    upstream: FakeUpstream, check: Run, reference: str | None
) -> None:
    make_image(upstream)
    done = check(*([reference] if reference else []), username="me", password=PASSWORD)
    assert (done.status, done.steps[-1]) == (0, ("warning", "credentials"))
    assert f"{upstream.address} has asked for no account: proxy.username was not tried: registry-cache" in done.last


def test_a_token_and_the_rate_limit(upstream: FakeUpstream, check: Run) -> None:
    make_image(upstream)
    upstream.faults.require_token = True
    upstream.faults.users["me"] = PASSWORD
    upstream.faults.rate_limit = 100
    done = check(f"{upstream.address}/{APP}:1", username="me", password=PASSWORD)
    assert done.status == 0
    assert (
        done.lines[3].strip()
        == f"ok      token: {upstream.address} gives one for {APP} for the account of proxy.username"
    )
    assert done.last == "ok      rate limit: 100 of 100 pulls left in 6 h, counted for 127.0.0.1"


@pytest.mark.parametrize(
    ("account", "remedy"),
    [
        ({}, "wait, or give it an account, which has a limit of its own: proxy.username"),
        ({"username": "me", "password": PASSWORD}, "wait"),
    ],
)
def test_a_used_up_rate_limit_is_not_called_good(
    upstream: FakeUpstream, check: Run, account: dict[str, str], remedy: str
) -> None:
    """The check itself gets its HEAD, which costs nothing; clients of what is not cached get no image."""
    make_image(upstream)
    upstream.faults.rate_limit = 0
    upstream.faults.require_token, upstream.faults.users["me"] = True, PASSWORD
    done = check(f"{upstream.address}/{APP}:1", **account)
    assert (done.status, done.steps[-1]) == (0, ("warning", "rate limit"))
    assert "0 of 0 pulls left in 6 h" in done.last
    assert done.last.endswith(f"; what is not cached is refused: {remedy}")


def test_each_of_several_references(upstream: FakeUpstream, check: Run) -> None:
    make_image(upstream)
    done = check(f"{APP}:nope", f"{APP}:1")
    assert done.status == 1
    assert done.steps[-2:] == [("failed", "manifest"), ("ok", "manifest")]


REFUSED = "the account was refused: check proxy.username and proxy.password"
ME, YOU = ({"username": name, "password": PASSWORD} for name in ("me", "you"))
BASIC: dict[str, Any] = {"require_basic": ("me", PASSWORD)}
TOKEN: dict[str, Any] = {"require_token": True}
FOREIGN = TOKEN | {"realm": "http://tokens.example.com/token"}


@pytest.mark.parametrize(
    ("faults", "reference", "settings", "expected"),
    [
        (TOKEN | {"users": {"me": "right"}}, "1", ME, f"failed  token: {REFUSED}"),
        ({"private": {APP}}, "1", ME, f"failed  credentials: {REFUSED}"),
        (BASIC, "1", YOU, f"failed  credentials: {REFUSED}"),
        (
            BASIC,
            "1",
            {},
            "failed  credentials: HOST wants a user and a password: set proxy.username and proxy.password",
        ),
        ({"private": {APP}}, "1", {}, "it is private or does not exist: check its name, or set proxy.username"),
        ({}, "nope", {}, f"failed  manifest: {APP}:nope is unknown to HOST"),
        (
            FOREIGN,
            "1",
            ME,
            "is not its own; if it is, list tokens.example.com under tokenrealms: the key is proxy.tokenrealms",
        ),
        (
            TOKEN,
            "1",
            {"credential_helper": "nowhere"},
            "failed  token: the credential helper docker-credential-nowhere failed: No such file",
        ),
        ({}, "1", {"url": "https://HOST"}, "failed  TLS: HOST does not speak TLS there: check proxy.remoteurl"),
        (
            {},
            "1",
            {"upstreams": {"localhost:1": {"remoteurl": "http://localhost:1"}}},
            "or correct upstreams.localhost:1.remoteurl",
        ),
    ],
)
def test_what_fails_is_told_with_its_remedy(
    faults: Mapping[str, Any],
    reference: str,
    settings: Mapping[str, Any],
    expected: str,
    upstream: FakeUpstream,
    check: Run,
) -> None:
    make_image(upstream)
    for name, value in faults.items():
        setattr(upstream.faults, name, value)
    done = check(f"{APP}:{reference}", **{key: named(upstream, value) for key, value in settings.items()})
    assert done.status == 1
    assert named(upstream, expected) in done.last


def named(upstream: FakeUpstream, text: Any) -> Any:
    return text.replace("HOST", upstream.address) if isinstance(text, str) else text


def test_a_password_that_a_registry_accepts(upstream: FakeUpstream, check: Run) -> None:
    upstream.faults.require_basic = BASIC["require_basic"]
    assert f"  ok      credentials: {upstream.address} accepts the account" in check(**ME).lines


@pytest.mark.parametrize(("where", "step"), [("GET /v2/$", "answer"), ("HEAD", "manifest"), ("/token", "token")])
def test_a_rate_limit(where: str, step: str, upstream: FakeUpstream, check: Run) -> None:
    make_image(upstream)
    upstream.faults.require_token = True
    upstream.faults.answer(where, 429, Retry_After="61")
    done = check(f"{APP}:1")
    assert done.status == 1
    limited = next(line.strip() for line in done.lines if "failed" in line)
    assert limited.startswith(f"failed  {step}: {upstream.address} limits this cache: try again in 6")
    assert "an account has a limit of its own: proxy.username" in limited


def test_a_port_that_refuses(upstream: FakeUpstream, check: Run) -> None:
    upstream.stop()
    done = check(f"{APP}:1")
    assert done.status == 1
    assert done.steps == [("ok", "name"), ("failed", "connection")]
    port = upstream.address.rpartition(":")[2]
    assert done.last == (
        f"failed  connection: 127.0.0.1 port {port} refuses connections: "
        "start what should listen there, or correct proxy.remoteurl"
    )


def test_a_name_that_does_not_resolve(check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: Any, **__: Any) -> Any:
        assert host == "nowhere.invalid"
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    done = check(url="https://nowhere.invalid")
    assert done.status == 1
    assert done.out.splitlines()[-1].strip() == (
        "failed  name: nowhere.invalid has no address: Name or service not known: "
        "check proxy.remoteurl, and this machine's name servers"
    )


def test_a_name_server_that_is_silent(upstream: FakeUpstream) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        upstream.stopping.wait(40)
        return []

    began = time.monotonic()
    [step] = tried("https://nowhere.invalid", timeout_seconds=0.1, resolve=resolve)
    upstream.stop()
    assert step.words == "no name server has answered for nowhere.invalid in 0.1 s"
    assert time.monotonic() - began < 15


def test_a_proxy_is_what_must_be_reached(upstream: FakeUpstream, check: Run) -> None:
    upstream.stop()
    done = check(url="http://nowhere.invalid", httpproxy=f"http://me:{PASSWORD}@{upstream.address}")
    assert done.status == 1
    assert "refuses connections" in done.out
    assert done.out.rstrip().endswith("correct proxy.httpproxy")


@pytest.mark.parametrize(("where", "step"), [("GET /v2/$", "answer"), ("/token", "token"), ("HEAD", "manifest")])
def test_a_silent_upstream_is_not_waited_for(where: str, step: str, upstream: FakeUpstream) -> None:
    make_image(upstream)
    upstream.faults.require_token = True
    upstream.faults.hold_before = where
    began = time.monotonic()
    last = tried(upstream.url)[-1]
    upstream.faults.release()
    assert (last.state, last.name) == ("failed", step)
    assert "no answer in 3 s" in last.words
    assert last.remedy == "wait for it; what is cached is served meanwhile"
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (503, "", "is up but failing: it answered 503 to /v2/"),
        (404, "", "answered 404 to /v2/: that is no registry: check proxy.remoteurl"),
        (200, "text/html", "answered 200 to /v2/ with a web page: that is no registry"),
        (401, "", "answered 401 to /v2/: that is no registry"),
        (403, "", "refuses this machine"),
    ],
)
def test_what_no_registry_answers(status: int, kind: str, expected: str, upstream: FakeUpstream, check: Run) -> None:
    upstream.faults.answer("GET /v2/$", status, Content_Type=kind)
    done = check(f"{APP}:1")
    assert (done.status, done.steps[-1]) == (1, ("failed", "answer"))
    assert expected in done.last


def test_a_certificate_of_an_unknown_authority(make_upstream: MakeUpstream, check: Run, tmp_path: Path) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    image = make_image(secure)

    refused = check(f"{APP}:1", url=secure.url)
    trusted = check(f"{APP}:1", url=secure.url, ca=str(authority))
    careless = check(f"{APP}:1", url=secure.url, insecure=True)

    assert (refused.status, trusted.status, careless.status) == (1, 0, 0)
    assert refused.last == (
        f"failed  TLS: the certificate of {secure.address} is signed by an unknown authority: "
        "set proxy.ca to the CA bundle, or proxy.insecure"
    )
    assert trusted.lines[2].strip() == f"ok      TLS: the certificate of {secure.address} is trusted"
    assert trusted.last.endswith(image.digest)
    assert careless.lines[2].strip() == "ok      TLS: encrypted, but no certificate is compared: proxy.insecure is set"


def test_the_document(upstream: FakeUpstream, check: Run) -> None:
    upstream.stop()
    done = check("--json")
    document = json.loads(done.out)
    assert done.status == 1
    assert (document["version"], document["ok"], document["store"]["ok"]) == (1, False, True)
    [only] = document["upstreams"]
    assert (only["name"], only["place"], only["ok"]) == (upstream.address, upstream.url, False)
    assert [each["state"] for each in only["steps"]] == ["ok", "failed"]
    assert only["steps"][0].keys() == {"step", "state", "message", "remedy"}
    assert only["steps"][0]["remedy"] is None


@pytest.mark.parametrize("reference", ["Library/App", "app:a b", "app@sha256:12"])
def test_a_reference_that_cannot_be(reference: str, check: Run) -> None:
    assert check(reference).status == 2


def test_a_target_shows_no_password_of_its_proxy() -> None:
    assert PASSWORD not in repr(CheckTarget("fake", "https://fake", "proxy", proxy=f"http://me:{PASSWORD}@proxy:3128"))
