"""Tokens are fetched once, kept while they are good, and told to nobody but the registry that asked for them."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import Denied, TooManyRequests, UpstreamElsewhere, UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag
from registry_cache.upstream import rate_limits
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credentials import conversation
from registry_cache.upstream.credentials.account import REFUSED_SECONDS, Credentials
from registry_cache.upstream.credentials.tokens import MAX_TOKEN_LENGTH, RENEW_BEFORE_SECONDS
from registry_cache.upstream.session import TLS
from tests.harness.cdn import FakeCdn
from tests.harness.fixture_types import MakeUpstream
from tests.harness.pull_rig import SECONDS, Clock
from tests.harness.store_rig import APP, OTHER
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import ME, connect, read_all

DATA = b"layer" * 100
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)


@pytest.fixture
def guarded(upstream: FakeUpstream) -> FakeUpstream:
    upstream.faults.require_token = True
    for repository in (APP, OTHER):
        upstream.add_blob(DATA, str(repository))
    return upstream


def pull(registry: Upstream, repository: Repository = APP) -> bytes:
    return read_all(registry.open_blob(repository, DIGEST))


def pull_at_once(guarded: FakeUpstream, registry: Upstream, threads: int) -> None:
    """All get the blob, while the token that they need is held until all wait for it."""
    barrier = threading.Barrier(threads, timeout=SECONDS)
    guarded.faults.hold_before = "/token"

    def at_once() -> bytes:
        barrier.wait()
        return pull(registry)

    with ThreadPoolExecutor(threads) as pool:
        pulls = [pool.submit(at_once) for _ in range(threads)]
        guarded.wait_until(lambda: guarded.token_requests and guarded.token_requests[0].held)
        guarded.faults.gate.set()
        assert [each.result(SECONDS) for each in pulls] == [DATA] * threads


def authorizations(upstream: FakeUpstream) -> list[str | None]:
    return [each.headers.get("Authorization") for each in upstream.requests(path="/v2/")]


def test_an_open_registry_is_told_nothing(upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    assert pull(connect(upstream.url, ME)) == DATA
    assert authorizations(upstream) == [None]


def test_a_token_is_fetched_once_and_used_again(guarded: FakeUpstream) -> None:
    registry = connect(guarded.url)
    for _ in range(3):
        assert pull(registry) == DATA
        assert registry.head_blob(APP, DIGEST) == len(DATA)
    (asked,) = guarded.token_requests
    assert asked.query == {"service": ["fake.registry"], "scope": ["repository:library/app:pull"]}
    assert "Authorization" not in asked.headers
    # The challenge costs one request in all, not one a request.
    assert [each.status for each in guarded.requests(path="/v2/")] == [401, 200, 200, 200, 200, 200, 200]


def test_another_repository_needs_another_token(guarded: FakeUpstream) -> None:
    registry = connect(guarded.url)
    for _ in range(2):
        assert pull(registry) == pull(registry, OTHER) == DATA
    assert len(guarded.token_requests) == 2


def test_many_threads_ask_for_one_token(guarded: FakeUpstream) -> None:
    pull_at_once(guarded, connect(guarded.url), threads=12)
    assert len(guarded.token_requests) == 1


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_either_field_holds_it(guarded: FakeUpstream, field: str) -> None:
    guarded.faults.token_field = field
    assert pull(connect(guarded.url)) == DATA


def test_it_is_renewed_before_it_expires(guarded: FakeUpstream) -> None:
    clock = Clock()
    registry = connect(guarded.url, clock=clock)
    guarded.faults.token_says = 300
    pull(registry)
    clock.now += 300 - RENEW_BEFORE_SECONDS - 1
    pull(registry)
    assert len(guarded.token_requests) == 1
    clock.now += 2
    guarded.forget()
    pull(registry)
    # Renewed without another challenge.
    assert [each.path == "/token" for each in guarded.exchanges] == [True, False]


@pytest.mark.parametrize(
    ("says", "still_good", "then"),
    [(2, 0, 1.6), ("2", 0, 1.6), (1, 0, 0.8), (0, 40, 10), (-5, 40, 10), (True, 40, 10), ("2 s", 40, 10)],
)
def test_a_short_life_is_used_to_four_fifths_and_one_that_makes_no_sense_is_a_minute(
    guarded: FakeUpstream, says: object, still_good: float, then: float
) -> None:
    clock = Clock()
    registry = connect(guarded.url, clock=clock)
    guarded.faults.token_says = says
    for pause in (0, still_good, 0):
        clock.now += pause
        assert pull(registry) == DATA
    assert len(guarded.token_requests) == 1
    clock.now += then
    assert pull(registry) == DATA
    assert len(guarded.token_requests) == 2


def test_a_revoked_token_costs_one_refresh(guarded: FakeUpstream) -> None:
    registry = connect(guarded.url)
    pull(registry)
    guarded.tokens.revoke()
    guarded.forget()
    assert pull(registry) == DATA
    assert len(guarded.token_requests) == 1
    assert [each.status for each in guarded.requests(path="/v2/")] == [401, 200]


def test_a_token_revoked_under_many_threads_costs_one_refresh(guarded: FakeUpstream) -> None:
    registry = connect(guarded.url)
    pull(registry)
    guarded.tokens.revoke()
    guarded.forget()
    pull_at_once(guarded, registry, threads=8)
    assert len(guarded.token_requests) == 1


def test_a_token_that_is_never_enough_is_a_denial_after_one_refresh(guarded: FakeUpstream) -> None:
    guarded.faults.private.add(str(APP))
    registry = connect(guarded.url)
    with pytest.raises(Denied, match=r"proxy\.username"):
        pull(registry)
    assert len(guarded.token_requests) == 1
    with pytest.raises(Denied):
        pull(registry)
    assert len(guarded.token_requests) <= 3
    assert pull(registry, OTHER) == DATA


def test_credentials_go_to_the_token_server_and_the_token_to_the_registry(guarded: FakeUpstream) -> None:
    guarded.faults.private.add(str(APP))
    guarded.faults.users["me"] = "secret"
    assert pull(connect(guarded.url, ME)) == DATA
    (asked,) = guarded.token_requests
    assert asked.headers["Authorization"] == ME.basic()
    assert asked.query["account"] == ["me"]
    assert not [each for each in authorizations(guarded) if each and not each.startswith("Bearer ")]


def test_refused_credentials_go_on_anonymously_and_say_so(
    guarded: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    registry = connect(guarded.url, Credentials("me", "wrong"), clock=clock)
    with caplog.at_level(logging.ERROR):
        assert pull(registry) == DATA
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert "account" in line.getMessage()
    assert "wrong" not in caplog.text
    # Not tried again at once, nor refused for ever.
    assert pull(registry, OTHER) == DATA
    assert [bool(each.headers.get("Authorization")) for each in guarded.token_requests] == [True, False, False]
    guarded.faults.users["me"] = "wrong"
    clock.now += max(REFUSED_SECONDS, 300) + 1
    assert pull(registry) == DATA
    assert guarded.token_requests[-1].headers.get("Authorization")


def test_a_scope_that_our_account_may_not_have_does_not_cost_the_others(guarded: FakeUpstream) -> None:
    """A token server may answer 403 for one repository: the account is good, and other private images need it."""
    guarded.faults.private |= {str(APP), str(OTHER)}
    guarded.faults.users["me"] = "secret"
    registry = connect(guarded.url, ME)
    guarded.faults.token_status = 403
    with pytest.raises(Denied):
        pull(registry)
    guarded.faults.token_status = 200
    assert pull(registry, OTHER) == DATA


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, UpstreamUnavailable), (503, UpstreamUnavailable), (404, UpstreamElsewhere), (418, UpstreamError)],
)
def test_a_token_server_that_is_unwell_is_an_error_and_tried_again_later(
    guarded: FakeUpstream, status: int, kind: type[UpstreamError]
) -> None:
    registry = connect(guarded.url)
    guarded.faults.token_status = status
    with pytest.raises(UpstreamError) as raised:
        pull(registry)
    assert type(raised.value) is kind
    assert raised.value.message.startswith(f"docker.io's token server answered {status}")
    guarded.faults.token_status = 200
    assert pull(registry) == DATA


@pytest.mark.parametrize("size", [MAX_TOKEN_LENGTH + 1, 2**20])
def test_a_token_of_a_megabyte_is_refused(guarded: FakeUpstream, size: int) -> None:
    guarded.faults.token_size = size
    with pytest.raises(UpstreamError, match="token server") as error:
        pull(connect(guarded.url))
    assert (error.value.status, len(error.value.message) < 500) == (502, True)
    assert authorizations(guarded) == [None]


def test_a_long_token_is_sent(guarded: FakeUpstream) -> None:
    guarded.faults.token_size = MAX_TOKEN_LENGTH
    assert pull(connect(guarded.url)) == DATA


@pytest.mark.parametrize("body", [b'{"token": "token-1\\n"}', b'{"access_token": "token-1", "token": null}'])
@pytest.mark.parametrize("status", [200, 201])
def test_a_token_is_taken_however_it_is_wrapped(guarded: FakeUpstream, status: int, body: bytes) -> None:
    guarded.faults.require_token = False
    guarded.faults.answer("HEAD .*/blobs/", 401, b"", 1, WWW_Authenticate=f'Bearer realm="{guarded.url}/token"')
    guarded.faults.answer("GET /token", status, body)
    assert connect(guarded.url).head_blob(APP, DIGEST) == len(DATA)
    assert guarded.requests("HEAD")[-1].headers["Authorization"] == "Bearer token-1"


BODIES = [
    *(b"", b"null", b"[]", b"<html>", b"[" * 100_000, '{"token": "ü"}'.encode()),
    *(b'{"token": 5}', b'{"token": ""}', b'{"token": "a\\nX-Evil: 1"}'),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_an_answer_without_a_token_that_can_be_sent(guarded: FakeUpstream, body: bytes) -> None:
    guarded.faults.answer("GET /token", 200, body)
    with pytest.raises(UpstreamError, match="token server"):
        pull(connect(guarded.url))


def challenge(upstream: FakeUpstream, *lines: str) -> None:
    upstream.faults.challenges = [line.replace("TOKEN", f"{upstream.url}/token") for line in lines]


@pytest.mark.parametrize(
    "lines",
    [
        ('Bearer realm="TOKEN",service="fake.registry",scope="repository:library/app:pull"',),
        ('bearer REALM="TOKEN", SCOPE="repository:library/app:pull,push" , service=x',),
        ('Basic realm="x"', 'Bearer realm="TOKEN",scope="repository:library/app:pull"'),
        ('Basic realm="a, b", Bearer realm="TOKEN",scope="repository:library/app:pull"',),
        ('Negotiate, Bearer realm="TOKEN", error="invalid_token"',),
        ('Bearer realm="TOKEN"',),
        ("Bearer realm=TOKEN, service=x",),
        ('Bearer realm=" /token "',),
    ],
)
def test_challenges_as_registries_write_them(guarded: FakeUpstream, lines: tuple[str, ...]) -> None:
    challenge(guarded, *lines)
    assert pull(connect(guarded.url)) == DATA
    (asked,) = guarded.token_requests
    assert asked.query["scope"][0].startswith("repository:library/app:pull")


@pytest.mark.parametrize("scope", ["repository:user/image:pull", "registry:catalog:*", "repository::pull"])
@pytest.mark.parametrize("refused_by", ["the registry", "its token server"])
def test_a_scope_of_something_else_is_asked_for_first_and_then_ours(
    guarded: FakeUpstream, scope: str, refused_by: str
) -> None:
    challenge(guarded, f'Bearer realm="TOKEN",scope="{scope}"')
    if refused_by == "its token server":
        guarded.faults.answer("GET /token", 403, b'{"errors": [{"code": "DENIED"}]}', times=1)
    registry = connect(guarded.url)
    for _ in range(2):
        assert pull(registry) == DATA
    assert [each.query["scope"] for each in guarded.token_requests] == [[scope], ["repository:library/app:pull"]]


def test_a_scope_that_names_the_repository_otherwise_is_enough(guarded: FakeUpstream) -> None:
    """As where one has a prefix in its URLs and none in its scopes. A refusal is then asked about once more."""
    scope = "repository:app:pull"
    challenge(guarded, f'Bearer realm="TOKEN",scope="{scope}"')
    guarded.faults.answer(
        "/blobs/", 401, b"", times=1, WWW_Authenticate=f'Bearer realm="{guarded.url}/token",scope="{scope}"'
    )
    guarded.faults.require_token = False
    assert pull(connect(guarded.url)) == DATA
    assert [each.query["scope"] for each in guarded.token_requests] == [[scope]]


@pytest.mark.parametrize(("times", "wait"), [(1, {}), (1, {"Retry_After": "0"}), (2, {}), (1, {"Retry_After": "30"})])
def test_a_token_server_that_was_asked_too_fast_is_asked_once_more(
    guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch, times: int, wait: dict[str, str]
) -> None:
    monkeypatch.setattr(rate_limits, "BURST_SECONDS", 0.01)
    guarded.faults.answer("GET /token", 429, b"{}", times, **wait)
    registry = connect(guarded.url)
    if times == 1 and wait.get("Retry_After") != "30":
        assert pull(registry) == DATA
    else:
        with pytest.raises(TooManyRequests):
            pull(registry)
    assert len(guarded.token_requests) == (1 if "30" in wait.values() else 2)


DEAD = [
    ('Bearer realm="http://127.0.0.2:1/token"', 'Bearer realm="TOKEN"'),
    ('Bearer realm="https://token.invalid/", service="x", Bearer realm="TOKEN", service="y"',),
    ('Negotiate, Basic realm="x", Bearer realm="http://127.0.0.1:1/token", Bearer realm="TOKEN"',),
    ('Bearer realm="ftp://x"', 'Bearer realm="http://127.0.0.1:1"', "Bearer", 'Bearer realm="TOKEN"'),
]


@pytest.mark.parametrize("lines", DEAD)
@pytest.mark.parametrize("account", [ME, None])
def test_a_challenge_that_cannot_be_met_leaves_the_next(
    guarded: FakeUpstream, lines: tuple[str, ...], account: Credentials | None
) -> None:
    challenge(guarded, *lines)
    registry = connect(guarded.url, account)
    assert pull(registry) == DATA
    began = len(guarded.token_requests)
    assert pull(registry, OTHER) == DATA
    # What has failed comes last for a while.
    assert [each.path for each in guarded.token_requests[began:]] == ["/token"]


def test_basic_follows_a_token_server_that_is_dead_and_the_first_failure_is_told(guarded: FakeUpstream) -> None:
    guarded.faults.require_basic = ("me", "secret")
    challenge(guarded, 'Bearer realm="http://127.0.0.1:1/token"', 'Basic realm="x"')
    registry = connect(guarded.url, ME)
    for _ in range(2):
        assert pull(registry) == DATA
    assert authorizations(guarded) == [None, ME.basic(), ME.basic()]
    with pytest.raises(UpstreamUnavailable, match="token server"):
        pull(connect(guarded.url))


def test_a_realm_with_a_query_keeps_it(guarded: FakeUpstream) -> None:
    challenge(guarded, 'Bearer realm="TOKEN?tenant=a&b=c",scope="repository:library/app:pull"')
    assert pull(connect(guarded.url)) == DATA
    (asked,) = guarded.token_requests
    assert (asked.query["tenant"], asked.query["b"]) == (["a"], ["c"])


@pytest.mark.parametrize("lines", [(), ("Digest realm=x",), ("Bearer service=x",), ('"',), ("Basic",)])
def test_challenges_that_cannot_be_met_are_a_denial_and_none_is_no_answer_of_a_registry(
    guarded: FakeUpstream, lines: tuple[str, ...]
) -> None:
    challenge(guarded, *lines)
    with pytest.raises(Denied if lines else UpstreamError) as error:
        pull(connect(guarded.url))
    assert isinstance(error.value, UpstreamError) is not bool(lines)
    assert guarded.token_requests == []


def test_basic(upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    upstream.faults.require_basic = ("me", "secret")
    registry = connect(upstream.url, ME)
    for _ in range(2):
        assert pull(registry) == DATA
    assert authorizations(upstream) == [None, ME.basic(), ME.basic()]
    with pytest.raises(Denied):
        pull(connect(upstream.url, Credentials("me", "wrong")))
    with pytest.raises(Denied):
        pull(connect(upstream.url))


def test_a_wrong_basic_password_is_sent_once_a_minute_and_not_with_every_pull(
    upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Registries lock accounts that come with a wrong password again and again."""
    upstream.add_blob(DATA)
    upstream.faults.require_basic = ("me", "secret")
    clock = Clock()
    registry = connect(upstream.url, Credentials("me", "wrong"), clock=clock)

    def sent() -> int:
        return len([each for each in authorizations(upstream) if each])

    for minute in (1, 2):
        for _ in range(10):
            with pytest.raises(Denied, match="refused the account of this cache"):
                pull(registry)
        assert sent() == minute
        assert [each.getMessage() for each in caplog.records] == ["upstream refused our account"] * minute
        clock.now += REFUSED_SECONDS
    upstream.faults.require_basic = ("me", "wrong")
    assert pull(registry) == DATA


def test_a_basic_password_that_is_changed_upstream_is_refused_and_later_good(upstream: FakeUpstream) -> None:
    upstream.add_blob(DATA)
    upstream.faults.require_basic = ("me", "secret")
    clock = Clock()
    registry = connect(upstream.url, ME, clock=clock)
    assert pull(registry) == DATA
    upstream.faults.require_basic = ("me", "another")
    for _ in range(5):
        with pytest.raises(Denied):
            pull(registry)
    assert authorizations(upstream).count(ME.basic()) == 2
    upstream.faults.require_basic = ("me", "secret")
    clock.now += REFUSED_SECONDS
    assert pull(registry) == DATA


def test_credentials_are_never_shown() -> None:
    assert "secret" not in repr(ME)
    assert "secret" not in str(ME)


FOREIGN = [
    *(f"http://{host}/token" for host in ("127.0.0.2:1", "localhost:1", "[::1]:1", "127.0.0.1:99999", "[broken")),
    *("http://127.0.0.1@127.0.0.2/token", "http://169.254.169.254/latest", "ftp://127.0.0.1/token"),
    *("file:///etc/passwd", "//127.0.0.2/token"),
]


@pytest.mark.parametrize("realm", FOREIGN)
def test_a_foreign_realm_is_refused_unasked(guarded: FakeUpstream, realm: str) -> None:
    guarded.faults.realm = realm
    with pytest.raises(UpstreamError):
        pull(connect(guarded.url, ME))
    assert guarded.token_requests == []


def test_a_foreign_realm_that_the_operator_allows(
    guarded: FakeUpstream, make_upstream: MakeUpstream, cdn: FakeCdn
) -> None:
    guarded.faults.realm = f"{cdn.url}/token"
    cdn.status = 503
    with pytest.raises(UpstreamError, match=r"sends us to the token server http://127\.0\.0\.2.* tokenrealms") as error:
        pull(connect(guarded.url, ME))
    assert error.value.status == 502
    assert cdn.exchanges == []
    # Without an account there is no password to keep from anybody.
    with pytest.raises(UpstreamUnavailable):
        pull(connect(guarded.url))
    assert [each.headers.get("Authorization") for each in cdn.exchanges] == [None]
    cdn.forget()
    with pytest.raises(UpstreamUnavailable):
        pull(connect(guarded.url, realms=["127.0.0.2"]))
    assert [each.path for each in cdn.exchanges] == ["/token"]


def test_a_downgrade_is_refused(make_upstream: MakeUpstream, upstream: FakeUpstream, tmp_path: Path) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    secure.faults.require_token, secure.faults.realm = True, f"{upstream.url}/token"
    with pytest.raises(UpstreamError, match="token server"):
        pull(connect(secure.url, ME, tls=TLS(verify=str(authority))))
    assert upstream.exchanges == []


@pytest.mark.parametrize("is_basic", [True, False])
def test_our_account_goes_along_to_https_of_the_same_host_and_not_before(
    make_upstream: MakeUpstream, upstream: FakeUpstream, tmp_path: Path, is_basic: bool
) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    secure.add_blob(DATA)
    secure.faults.require_token, secure.faults.require_basic = True, ("me", "secret") if is_basic else None
    secure.faults.users["me"] = "secret"
    upstream.faults.answer("/v2/", 301, Location=f"{secure.url}/v2/{APP}/blobs/{DIGEST}")
    registry = connect(upstream.url, ME, tls=TLS(verify=str(authority)))
    for _ in range(2):
        assert pull(registry) == DATA
    assert authorizations(upstream) == [None] * 3
    said = authorizations(secure)
    if is_basic:
        assert said == [None, ME.basic(), ME.basic()]
    else:
        assert [each.headers["Authorization"] for each in secure.token_requests] == [ME.basic()]
        assert (said[0], said[1] == said[2]) == (None, True)


def test_our_account_goes_along_to_no_other_host(
    make_upstream: MakeUpstream, upstream: FakeUpstream, tmp_path: Path
) -> None:
    context, authority = make_certificate(tmp_path)
    secure = make_upstream(tls=context)
    secure.faults.require_basic = ("me", "secret")
    elsewhere = secure.url.replace("127.0.0.1", "localhost")
    upstream.faults.answer("/v2/", 301, Location=f"{elsewhere}/v2/{APP}/blobs/{DIGEST}")
    with pytest.raises(Denied, match="no account is sent there"):
        pull(connect(upstream.url, ME, tls=TLS(verify=str(authority))))
    assert set(authorizations(secure)) == {None}


def test_a_token_server_that_redirects_does_not_hand_our_password_on(guarded: FakeUpstream, cdn: FakeCdn) -> None:
    guarded.faults.answer("GET /token", 307, Location=f"{cdn.url}/token")
    cdn.status = 503
    with pytest.raises(UpstreamError):
        pull(connect(guarded.url, ME))
    assert guarded.token_requests[0].headers["Authorization"] == ME.basic()
    assert [each.headers.get("Authorization") for each in cdn.exchanges] == [None]


def test_scopes_that_are_refused_are_not_remembered_for_ever(guarded: FakeUpstream) -> None:
    """A client may ask for any name: what that leaves in memory must be bounded."""
    registry = connect(guarded.url)
    guarded.faults.token_status = 403
    for number in range(20):
        with pytest.raises(Denied):
            registry.head_manifest(Repository.parse(f"name/{number}"), Tag.parse("1"))
    tokens = registry.transport.auth._tokens
    assert tokens._fetches._flights == {}
    assert tokens._tokens.maxsize <= 10_000


def test_an_answer_is_read_as_it_is_meant(guarded: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_PAUSE_SECONDS", 0.0)
    body = json.dumps({"token": None, "access_token": "abc", "expires_in": "soon", "issued_at": "never"}).encode()
    guarded.faults.answer("GET /token", 200, body)
    # A token that is called invalid is trouble, and no refusal.
    with pytest.raises(UpstreamUnavailable, match="invalid"):
        pull(connect(guarded.url))
    assert authorizations(guarded)[:2] == [None, "Bearer abc"]
    assert len(guarded.exchanges) < 20
