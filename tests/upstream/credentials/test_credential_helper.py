"""Credentials from a program, as ECR's helper gives them: slow, failing, garbled, and never told to anyone."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamElsewhere, UpstreamUnavailable
from registry_cache.oci.names import Repository, Tag
from registry_cache.upstream.credentials import credential_helper
from registry_cache.upstream.credentials.account import Credentials
from registry_cache.upstream.credentials.credential_helper import DEFAULT_LIFETIME, CredentialHelper
from tests.harness.pull_rig import SECONDS, Clock
from tests.harness.store_rig import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import ask_head, connect
from tests.harness.waiting import eventually

SECRET = "hunter2-from-the-cloud"
SERVER = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ANSWER = f"""cat <<END
{{"ServerURL": "{SERVER}", "Username": "AWS", "Secret": "{SECRET}"}}
END"""

NO_CREDENTIALS = [
    *(":", "printf '\\377'", "head -c 60000 /dev/zero | tr '\\0' '['", f"echo {SECRET}", f"echo '[\"{SECRET}\"]'"),
    *(f'echo \'{{"Secret": "{SECRET}"}}\'', f'echo \'{{"Username": "AWS", "Secret": {{"is": "{SECRET}"}}}}\''),
    'echo \'{"Username": null, "Secret": null}\'',
]

MakeHelper = Callable[..., CredentialHelper]


@pytest.fixture
def make_helper(tmp_path: Path, clock: Clock) -> MakeHelper:
    """A function that makes a helper of a shell script's lines; each call of it is a line of ``calls``."""

    def make(script: str, lifetime: timedelta | None = None) -> CredentialHelper:
        program = tmp_path / "docker-credential-test"
        lines = ["#!/bin/sh", "read -r server || :", f'echo "$1 $server" >>{tmp_path}/calls', script]
        program.write_text("\n".join([*lines, ""]), encoding="utf-8")
        program.chmod(0o755)
        return CredentialHelper(str(program), SERVER, lifetime, clock)

    return make


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """What the program was asked, call by call."""
    return lambda: (tmp_path / "calls").read_text(encoding="utf-8").splitlines()


def told(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, fields included."""
    return " ".join(f"{each.getMessage()} {vars(each)}" for each in caplog.records)


def test_the_program_is_asked_as_docker_asks_it(make_helper: MakeHelper, calls: Callable[[], list[str]]) -> None:
    found = make_helper(ANSWER).credentials()
    assert (found.username, found.password) == ("AWS", SECRET)
    assert calls() == [f"get {SERVER}"]


@pytest.mark.parametrize("lifetime", [None, timedelta(seconds=30)])
def test_its_answer_is_kept_for_its_lifetime(
    make_helper: MakeHelper, calls: Callable[[], list[str]], clock: Clock, lifetime: timedelta | None
) -> None:
    helper = make_helper(ANSWER, lifetime)
    helper.credentials()
    clock.pause((lifetime or DEFAULT_LIFETIME).total_seconds() - 1)
    helper.credentials()
    assert len(calls()) == 1
    clock.pause(1)
    helper.credentials()
    assert len(calls()) == 2


def test_what_was_refused_is_asked_for_again_and_what_came_since_is_kept(
    make_helper: MakeHelper, calls: Callable[[], list[str]]
) -> None:
    helper = make_helper(ANSWER)
    refused = helper.credentials()
    helper.forget(refused)
    assert helper.credentials() == refused
    assert len(calls()) == 2
    helper.forget(Credentials("AWS", "an older one"))
    helper.credentials()
    assert len(calls()) == 2


def test_many_who_ask_at_once_cost_one_call(make_helper: MakeHelper, calls: Callable[[], list[str]]) -> None:
    helper, found = make_helper(ANSWER), []
    threads = [threading.Thread(target=lambda: found.append(helper.credentials())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert [each.password for each in found] == [SECRET] * 8
    assert len(calls()) == 1


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        (f"echo {SECRET}; exit 3", "exit status 3"),
        ("printf '\\377\\376' >&2; exit 1", "exit status 1"),
        ("kill -9 $$", "exit status -9"),
        (f'echo \'{{"Username": "<token>", "Secret": "{SECRET}"}}\'', "it gave an identity token and no password"),
        *((script, "not a JSON object with Username and Secret") for script in NO_CREDENTIALS),
    ],
)
def test_what_is_no_answer_is_an_error_without_a_secret(
    make_helper: MakeHelper, caplog: pytest.LogCaptureFixture, script: str, cause: str
) -> None:
    with pytest.raises(UpstreamUnavailable, match=cause) as raised:
        make_helper(script).credentials()
    assert SECRET not in str(raised.value)
    assert "docker-credential-test failed" in str(raised.value)
    assert SECRET not in told(caplog)
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


def test_what_it_says_on_its_error_output_is_for_the_log_and_not_for_clients(
    make_helper: MakeHelper, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UpstreamUnavailable) as raised:
        make_helper("echo the session of account 4711 has expired >&2; exit 1").credentials()
    assert "4711" not in str(raised.value)
    assert "the session of account 4711 has expired" in told(caplog)


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnavailable, match="No such file or directory"):
        CredentialHelper(str(tmp_path / "nothing"), SERVER, None).credentials()


def test_a_program_that_hangs_is_given_up_and_asked_again(
    make_helper: MakeHelper,
    calls: Callable[[], list[str]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    # It has written its line by then, and only then hangs.
    monkeypatch.setattr(credential_helper, "HELPER_TIMEOUT_SECONDS", 3.0)
    helper = make_helper(f"test -e {tmp_path}/well || exec sleep 90\n{ANSWER}")
    with pytest.raises(UpstreamUnavailable, match="no answer in"):
        helper.credentials()
    (tmp_path / "well").touch()
    monkeypatch.setattr(credential_helper, "HELPER_TIMEOUT_SECONDS", SECONDS)
    with pytest.raises(UpstreamUnavailable, match="no answer in"):
        helper.credentials()
    assert len(calls()) == 1  # not at every pull

    clock.pause(credential_helper.FAILED_SECONDS)
    assert helper.credentials().password == SECRET
    assert len(calls()) == 2


def test_after_its_lifetime_a_failing_program_is_an_error_and_no_old_answer(
    make_helper: MakeHelper, clock: Clock, tmp_path: Path
) -> None:
    helper = make_helper(f"test ! -e {tmp_path}/broken || exit 1\n{ANSWER}")
    helper.credentials()
    (tmp_path / "broken").touch()
    clock.pause(DEFAULT_LIFETIME.total_seconds())
    with pytest.raises(UpstreamUnavailable):
        helper.credentials()


def test_an_answer_shows_no_secret_when_it_is_printed(make_helper: MakeHelper) -> None:
    found = make_helper(ANSWER).credentials()
    assert SECRET not in f"{found} {found!r}"


def require(upstream: FakeUpstream, scheme: str, password: str) -> None:
    """Let only those in who come with this password, by a token or without."""
    upstream.faults.users["AWS"], upstream.faults.private = password, {str(APP)}
    upstream.faults.require_basic = ("AWS", password) if scheme == "basic" else None


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_password_that_has_changed_is_fetched_and_nobody_is_refused(
    upstream: FakeUpstream, make_helper: MakeHelper, calls: Callable[[], list[str]], tmp_path: Path, scheme: str
) -> None:
    digest = upstream.add_manifest(b"{}", tag="1")
    answer = tmp_path / "answer"
    answer.write_text('{"Username": "AWS", "Secret": "one"}')
    registry = connect(upstream.url, make_helper(f"cat {answer}"))
    for password in ("one", "two"):
        require(upstream, scheme, password)
        upstream.tokens.revoke()
        answer.write_text(f'{{"Username": "AWS", "Secret": "{password}"}}')
        assert str(ask_head(registry, APP, Tag.parse("1")).digest) == digest
    assert len(calls()) == 2


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_program_whose_answer_stays_wrong_is_asked_once_more_and_not_at_every_pull(
    upstream: FakeUpstream, make_helper: MakeHelper, calls: Callable[[], list[str]], scheme: str
) -> None:
    upstream.add_manifest(b"{}", tag="1")
    require(upstream, scheme, "another")
    registry = connect(upstream.url, make_helper(ANSWER))
    for _ in range(5):
        # They may have expired, so a copy may be served: it is no denial.
        with pytest.raises(UpstreamUnavailable, match="credential helper gives are refused"):
            ask_head(registry, APP, Tag.parse("1"))
    assert len(calls()) == 2
    sent = [each for each in upstream.exchanges if (each.headers.get("Authorization") or "").startswith("Basic ")]
    assert len(sent) == 1


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_with_a_failing_program_what_is_refused_is_no_denial(
    upstream: FakeUpstream, make_helper: MakeHelper, scheme: str
) -> None:
    """A denial would end access to a cached copy; a helper that fails is trouble, and the copy is served."""
    upstream.add_manifest(b"{}", repository="team/secret", tag="1")
    upstream.faults.require_token, upstream.faults.private = scheme == "bearer", {"team/secret"}
    upstream.faults.require_basic = ("AWS", SECRET) if scheme == "basic" else None
    registry = connect(upstream.url, make_helper("exit 1"))
    with pytest.raises(UpstreamUnavailable, match="credential helper"):
        ask_head(registry, Repository.parse("team/secret"), Tag.parse("1"))


def test_with_a_failing_program_public_images_still_come(upstream: FakeUpstream, make_helper: MakeHelper) -> None:
    digest = upstream.add_manifest(b"{}", tag="1")
    upstream.faults.require_token = True
    registry = connect(upstream.url, make_helper("exit 1"))
    assert str(ask_head(registry, APP, Tag.parse("1")).digest) == digest


@pytest.mark.parametrize("child", ["sleep 90 &", "setsid sleep 90 &"])
def test_a_child_that_keeps_its_output_open_holds_up_nobody(
    make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch, child: str, tmp_path: Path
) -> None:
    monkeypatch.setattr(credential_helper, "HELPER_TIMEOUT_SECONDS", SECONDS)
    began = time.monotonic()
    assert make_helper(f"{child}\necho $! >{tmp_path}/child\n{ANSWER}").credentials().password == SECRET
    assert time.monotonic() - began < SECONDS
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_program_that_hangs_is_ended_with_its_children(
    make_helper: MakeHelper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(credential_helper, "HELPER_TIMEOUT_SECONDS", 3.0)
    helper = make_helper(f"sleep 90 &\necho $! >{tmp_path}/child\nsleep 90")
    began = time.monotonic()
    with pytest.raises(UpstreamUnavailable, match="no answer in"):
        helper.credentials()
    assert time.monotonic() - began < SECONDS
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "cmdline"
    eventually(lambda: not child.exists() or not child.read_bytes())


@pytest.mark.parametrize("before", [False, True])
def test_a_failing_program_is_no_failure_of_the_registry(
    upstream: FakeUpstream, make_helper: MakeHelper, clock: Clock, tmp_path: Path, before: bool
) -> None:
    digest = upstream.add_manifest(b"{}", tag="1")
    upstream.faults.require_basic = ("AWS", SECRET)
    helper = make_helper(f"test ! -e {tmp_path}/broken || exit 1\n{ANSWER}")
    registry = connect(upstream.url, helper)
    if before:
        ask_head(registry, APP, Tag.parse("1"))
        clock.pause(DEFAULT_LIFETIME.total_seconds())
    (tmp_path / "broken").touch()
    for _ in range(5):
        with pytest.raises(UpstreamElsewhere, match="credential helper"):
            ask_head(registry, APP, Tag.parse("1"))
    (tmp_path / "broken").unlink()
    clock.pause(credential_helper.FAILED_SECONDS)
    assert str(ask_head(registry, APP, Tag.parse("1")).digest) == digest
