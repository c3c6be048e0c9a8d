"""Challenges of one question: tokens that are not good yet or never, an expired password, another registry."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest

from registry_cache.errors import BlobUnknown, Denied, UpstreamElsewhere, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credentials import conversation
from registry_cache.upstream.credentials.account import Credentials
from registry_cache.upstream.session import TLS
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import make_image
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import APP, HUB, LATEST
from tests.harness.tls import make_certificate
from tests.harness.tokens import SERVICE
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import ME, ask_head, connect, read_all

DATA = b"layer" * 100
DIGEST = Digest.of(DATA)


def pull(registry: Upstream) -> bytes:
    return read_all(registry.open_blob(APP, DIGEST))


@pytest.fixture
def guarded(upstream: FakeUpstream) -> FakeUpstream:
    upstream.faults.require_token = True
    upstream.add_blob(DATA)
    return upstream


def test_a_token_that_is_not_good_yet_is_kept_and_sent_again(
    guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.2)
    guarded.faults.token_begins = 0.15
    registry = connect(guarded.url)
    assert pull(registry) == pull(registry) == DATA
    assert len(guarded.token_requests) == 1


def test_tokens_that_are_never_good_are_trouble_and_no_refusal(
    guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.0)
    guarded.faults.token_begins = 3600
    with pytest.raises(UpstreamUnavailable, match="calls each token of its token server invalid"):
        pull(connect(guarded.url))
    assert 2 <= len(guarded.token_requests) <= 4


def test_a_token_that_has_expired_on_the_way_is_fetched_anew_as_often_as_it_takes(guarded: FakeUpstream) -> None:
    registry = connect(guarded.url)
    for _ in range(4):
        guarded.tokens.revoke()
        assert pull(registry) == DATA
    assert len(guarded.token_requests) == 4


INVALID = b'{"errors":[{"code":"UNAUTHORIZED","message":"token is expired"}]}'
REFUSED = b'{"errors":[{"code":"DENIED","message":"denied"}]}'


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, INVALID),
        (401, INVALID),
        (403, INVALID),
        (400, REFUSED),
        (401, REFUSED),
        (403, REFUSED),
        (401, b"no"),
        (401, b""),
    ],
)
def test_a_token_that_is_refused_without_a_challenge_is_replaced_at_once(
    guarded: FakeUpstream, status: int, body: bytes
) -> None:
    registry = connect(guarded.url)
    assert pull(registry) == DATA
    guarded.faults.answer("/blobs/", status, body, times=1)
    assert pull(registry) == DATA
    assert len(guarded.token_requests) == 2


def new_token() -> bytes:
    """What a token server says that gives a JSON Web Token which is good in a while by the clock here."""
    claims = base64.urlsafe_b64encode(json.dumps({"nbf": time.time() + 3600}).encode()).rstrip(b"=").decode()
    return json.dumps({"token": f"e30.{claims}.x"}).encode()


def test_a_new_token_that_is_refused_without_a_word_is_sent_again_in_a_moment_and_not_at_every_pull(
    guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(conversation, "_WAITS", 1)
    challenge = f'Bearer realm="{guarded.url}/token"'
    guarded.faults.answer("/token", 200, new_token())
    guarded.faults.answer("/blobs/", 401, REFUSED, times=2, WWW_Authenticate=challenge)
    guarded.faults.require_token = False
    assert pull(connect(guarded.url)) == DATA
    assert [each.path == "/token" for each in guarded.exchanges] == [False, True, False, False]

    guarded.faults.answer("/blobs/", 401, REFUSED, WWW_Authenticate=challenge)
    registry = connect(guarded.url)
    counts = []
    for _ in range(2):
        guarded.forget()
        with pytest.raises(Denied):
            pull(registry)
        counts.append(len(guarded.requests("GET", "/blobs/")))
    assert counts == [3, 1]


def test_a_403_with_a_challenge_is_met_as_a_401_is(guarded: FakeUpstream) -> None:
    challenge = f'Bearer realm="{guarded.url}/token",service="{SERVICE}",scope="repository:{APP}:pull"'
    guarded.faults.answer("/blobs/", 403, REFUSED, times=1, WWW_Authenticate=challenge)
    assert pull(connect(guarded.url)) == DATA


def test_a_refusal_of_access_costs_a_token_a_minute(guarded: FakeUpstream) -> None:
    clock = Clock()
    registry = connect(guarded.url, clock=clock)
    assert pull(registry) == DATA
    guarded.faults.answer("/blobs/", 403, REFUSED)
    for _ in range(3):
        with pytest.raises(Denied):
            pull(registry)
    assert len(guarded.token_requests) == 2
    clock.pause(61)
    with pytest.raises(Denied):
        pull(registry)
    assert len(guarded.token_requests) == 3


def test_a_new_token_that_is_refused_in_words_only_is_no_refusal_of_access(
    guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.0)
    registry = connect(guarded.url)
    assert pull(registry) == DATA
    guarded.faults.answer("/blobs/", 403, INVALID)
    with pytest.raises(UpstreamUnavailable, match="calls each token"):
        pull(registry)


class Helper:
    """A credential helper that gives each of its answers until it is refused."""

    expires = True

    def __init__(self, *passwords: str) -> None:
        self.passwords = list(passwords)
        self.asked = 0

    def credentials(self) -> Credentials:
        return Credentials("AWS", self.passwords[0])

    def forget(self, refused: Credentials) -> None:
        self.asked += 1
        if len(self.passwords) > 1:
            self.passwords.pop(0)


EXPIRED = b'{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate"}]}'


@pytest.fixture
def ecr(upstream: FakeUpstream) -> FakeUpstream:
    upstream.faults.require_basic = ("AWS", "new")
    upstream.add_blob(DATA)
    return upstream


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_password_that_has_expired_is_asked_for_again_at_once_whatever_the_status(
    ecr: FakeUpstream, status: int
) -> None:
    helper = Helper("old", "new")
    registry = connect(ecr.url, helper)
    ecr.faults.require_basic = ("AWS", "old")
    assert pull(registry) == DATA
    ecr.faults.require_basic = ("AWS", "new")
    ecr.faults.answer("/blobs/", status, EXPIRED, times=1)
    assert pull(registry) == DATA
    assert helper.asked == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (403, EXPIRED, UpstreamElsewhere),
        (400, EXPIRED, UpstreamElsewhere),
        (403, b'{"errors":[{"code":"DENIED","message":"not yours"}]}', Denied),
    ],
)
def test_where_there_is_no_other_the_helper_is_asked_once_and_an_expired_one_is_no_denial(
    ecr: FakeUpstream, status: int, body: bytes, kind: type[Exception]
) -> None:
    helper = Helper("new")
    registry = connect(ecr.url, helper)
    assert pull(registry) == DATA
    ecr.faults.answer("/blobs/", status, body)
    for _ in range(3):
        with pytest.raises(kind):
            pull(registry)
    assert helper.asked == 1


def test_a_registry_by_http_that_one_by_https_redirects_to_gets_no_token(
    make_upstream: MakeUpstream, real: FakeUpstream, tmp_path: Path
) -> None:
    context, ca = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    redirect(secure, real, f"blobs/{DIGEST}")
    registry = connect(secure.url, tls=TLS(verify=str(ca)))
    registry.transport.http_redirects = True
    with pytest.raises(Denied, match="no account is sent there"):
        pull(registry)
    assert not real.token_requests


@pytest.fixture
def real(make_upstream: MakeUpstream) -> FakeUpstream:
    """The registry behind a vanity domain, with a challenge of its own."""
    real = make_upstream()
    real.faults.require_token = True
    real.add_blob(DATA)
    return real


def redirect(vanity: FakeUpstream, real: FakeUpstream, path: str, times: int | None = None) -> None:
    vanity.faults.answer(path, 307, times=times, Location=f"{real.url}/v2/{APP}/{path}")


@pytest.mark.parametrize("account", [None, ME])
def test_a_registry_that_is_redirected_to_gets_a_token_of_its_own_and_no_account(
    upstream: FakeUpstream, real: FakeUpstream, account: Credentials | None
) -> None:
    image = make_image(real, tag="latest")
    registry = connect(upstream.url, account)
    for path in (f"blobs/{DIGEST}", "manifests/latest"):
        redirect(upstream, real, path)
    assert str(ask_head(registry, APP, LATEST).digest) == image.digest
    for _ in range(2):
        assert registry.get_manifest(APP, LATEST).data == image.manifest
        assert pull(registry) == DATA
    assert len(real.token_requests) == 1
    assert real.token_requests[0].query["scope"] == [f"repository:{APP}:pull"]
    sent = [each.headers.get("Authorization") or "" for each in [*real.exchanges, *upstream.exchanges]]
    assert not [each for each in sent if each.startswith("Basic")]
    assert {each.headers.get("Authorization") for each in upstream.exchanges} == {None}


def test_what_a_registry_says_that_is_redirected_to_is_an_answer(upstream: FakeUpstream, real: FakeUpstream) -> None:
    absent = Digest.of(b"absent")
    redirect(upstream, real, f"blobs/{absent}")
    with pytest.raises(BlobUnknown):
        connect(upstream.url).open_blob(APP, absent)
    real.faults.private.add(str(APP))
    redirect(upstream, real, f"blobs/{DIGEST}")
    with pytest.raises(Denied, match=f"127.0.0.1, where {HUB} redirects, refused .* remoteurl"):
        connect(upstream.url, private_redirects=True).open_blob(APP, DIGEST)
    with pytest.raises(Denied, match="a private address"):
        connect(upstream.url).open_blob(APP, DIGEST)
    real.faults.answer("/v2/", 404, b"404 page not found", Content_Type="text/plain")
    with pytest.raises(UpstreamError, match="in front of"):
        connect(upstream.url, private_redirects=True).open_blob(APP, DIGEST)
