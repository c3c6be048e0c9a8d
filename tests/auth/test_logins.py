"""What clients send as a login, how it is compared, remembered and bounded, and how failures are slowed."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask import Flask

from registry_cache.api.auth import Guard
from registry_cache.auth import basic
from registry_cache.auth.basic import Login
from registry_cache.auth.slowdown import FIRST_SECONDS, FORGET_SECONDS, MAX_SECONDS, Slowdown
from registry_cache.auth.users import Users
from registry_cache.auth.verifier import (
    MAX_CONCURRENT,
    MAX_PENDING,
    MAX_PENDING_PER_ADDRESS,
    REMEMBER_SECONDS,
    TooManyLogins,
    Verifier,
)
from registry_cache.errors import TooManyRequests, Unauthorized
from tests.harness.waiting import eventually

SECONDS = 20.0
ALICE, BOB = b"$2b$05$" + b"O" * 53, b"$2b$11$" + b"e" * 53
HASHES = {b"alice": ALICE, b"bob": BOB}
HERE = "192.0.2.1"


def header(text: bytes, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(text).decode()}"


@pytest.mark.parametrize(
    ("given", "login"),
    [
        (None, None),
        ("", None),
        ("Bearer abc", None),
        ("Basically abc", None),
        (header(b"alice:secret"), Login(b"alice", b"secret")),
        (header(b"alice:secret", "bASIC"), Login(b"alice", b"secret")),
        (header(b"alice:secret", "Basic  "), Login(b"alice", b"secret")),
        (header(b"alice:a:b"), Login(b"alice", b"a:b")),
        (header(b":"), None),  # skopeo and podman without a login
        (header(b":secret"), Login(b"", b"secret")),
        (header(b"alice:"), Login(b"alice", b"")),
        (header(b"\xe9\xff:\xfe\x00"), Login(b"\xe9\xff", b"\xfe\x00")),
    ],
)
def test_headers(given: str | None, login: Login | None) -> None:
    assert basic.parse(given) == login


@pytest.mark.parametrize(
    "given",
    [
        *("Basic", "Basic ", "Basic !", "Basic YWxpY2U6c2VjcmV", "Basic é"),
        header(b"alice"),
        f"{header(b'a:b')}, Basic YTpi",
    ],
)
def test_headers_that_cannot_be(given: str) -> None:
    with pytest.raises(basic.MalformedHeader):
        basic.parse(given)


@pytest.mark.parametrize(
    ("password", "words"),
    [(b"x" * 72, ""), (b"x" * 73, "has 73 bytes"), ("é" * 37, "has 74 bytes"), (b"a\0b", "holds a NUL"), (b"", "")],
)
def test_passwords_that_bcrypt_would_cut(password: bytes | str, words: str) -> None:
    sent = password.encode() if isinstance(password, str) else password
    fault = Login(b"alice", sent).fault
    assert words in (fault or "")
    assert (fault is None) is (words == "")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Login(b"alice", b"secret"))


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [
        ("registry", 'Basic realm="registry"'),
        (r'the "big" \ one', r'Basic realm="the \"big\" \\ one"'),
        ("Zürich", f'Basic realm="{"Zürich".encode().decode("latin-1")}"'),
    ],
)
def test_challenges(realm: str, challenge: str) -> None:
    assert basic.challenge(realm) == challenge


class Comparing:
    """In place of bcrypt: every user's password is "secret"; counts, and waits at a gate."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.compared: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()
        self.changed = threading.Condition()
        self.verifier = Verifier(self.matches, lambda: self.seconds)

    def matches(self, password: bytes, stored: bytes) -> bool:
        with self.changed:
            self.compared.append(stored)
            self.changed.notify_all()
        assert self.gate.wait(SECONDS)
        return password == b"secret" and stored in HASHES.values()

    def verify(self, user: bytes, password: bytes = b"secret", address: str = HERE) -> bool:
        return self.verifier.verify(HASHES, Login(user, password), address)

    @contextmanager
    def busy(self, count: int, address: str = HERE) -> Iterator[list[Future[bool]]]:
        """So many different logins under way; they go on at the end."""
        self.gate.clear()
        started = [threading.Event() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:

            def log_in(number: int) -> bool:
                started[number].set()
                return self.verify(b"alice", b"%d" % number, address)

            futures = [pool.submit(log_in, number) for number in range(count)]
            try:
                assert all(each.wait(SECONDS) for each in started)
                eventually(lambda: len(self.verifier._under_way) == count)
                yield futures
            finally:
                self.gate.set()


@pytest.fixture
def comparing() -> Iterator[Comparing]:
    comparing = Comparing()
    yield comparing
    comparing.gate.set()


def test_a_pair_is_compared_once_a_minute(comparing: Comparing) -> None:
    for _ in range(50):
        assert comparing.verify(b"alice")
        assert not comparing.verify(b"alice", b"wrong")
    assert comparing.compared == [ALICE, ALICE]

    comparing.seconds += REMEMBER_SECONDS + 1
    assert comparing.verify(b"alice")
    assert len(comparing.compared) == 3


def test_fifty_at_once_are_compared_once(comparing: Comparing) -> None:
    comparing.gate.clear()
    with ThreadPoolExecutor(50) as pool:
        answers = [pool.submit(comparing.verify, b"alice") for _ in range(50)]
        with comparing.changed:
            assert comparing.changed.wait_for(lambda: comparing.compared, SECONDS)
        comparing.gate.set()
        assert all(answer.result(SECONDS) for answer in answers)
    assert comparing.compared == [ALICE]


def test_a_changed_entry_ends_what_was_remembered(comparing: Comparing) -> None:
    assert comparing.verify(b"alice")
    login = Login(b"alice", b"secret")

    assert not comparing.verifier.verify({b"alice": ALICE[:-1] + b"x"}, login, HERE)
    assert not comparing.verifier.verify({b"bob": BOB}, login, HERE)
    assert not comparing.verifier.verify({}, login, HERE)


def test_an_unknown_user_costs_what_a_known_one_does(comparing: Comparing) -> None:
    assert not any(comparing.verify(b"eve%d" % number) for number in range(64))

    assert len(comparing.compared) == 64
    assert {stored[:7] for stored in comparing.compared} == {ALICE[:7], BOB[:7]}
    assert not set(HASHES.values()) & set(comparing.compared)


def test_a_password_that_was_cut_is_wrong_and_costs_nothing(comparing: Comparing) -> None:
    assert not comparing.verify(b"alice", b"x" * 73)
    assert comparing.compared == []


def test_a_flood_is_bounded_and_leaves_room_for_others(comparing: Comparing) -> None:
    assert comparing.verify(b"bob")
    with comparing.busy(MAX_PENDING_PER_ADDRESS) as flood:
        with pytest.raises(TooManyLogins):
            comparing.verify(b"alice")
        # Who is remembered is not held up.
        assert comparing.verify(b"bob")
        with comparing.changed:
            assert comparing.changed.wait_for(lambda: len(comparing.compared) == 1 + MAX_CONCURRENT, SECONDS)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(comparing.verify, b"alice", b"secret", "192.0.2.2")
            comparing.gate.set()
            assert other.result(SECONDS)
    assert not any(answer.result(SECONDS) for answer in flood)
    assert comparing.verify(b"alice")


def test_strangers_from_any_number_of_addresses_do_not_keep_out_who_is_known(comparing: Comparing) -> None:
    assert comparing.verify(b"alice", b"secret", "192.0.2.77")
    comparing.seconds += REMEMBER_SECONDS + 1
    comparing.gate.clear()
    with ThreadPoolExecutor(MAX_PENDING + 2) as pool:
        guesses = [pool.submit(comparing.verify, b"alice", b"%d" % n, f"192.0.2.{n}") for n in range(MAX_PENDING)]
        eventually(lambda: len(comparing.verifier._under_way) == MAX_PENDING)
        # Neither a stranger nor a known address with another name gets in ...
        for user, address in ((b"bob", "192.0.2.99"), (b"bob", "192.0.2.77")):
            with pytest.raises(TooManyLogins):
                comparing.verify(user, b"secret", address)
        # ... and who is known has a turn of its own, before those who came first.
        eventually(lambda: len(comparing.compared) == 1 + MAX_CONCURRENT)
        known = pool.submit(comparing.verify, b"alice", b"secret", "192.0.2.77")
        eventually(lambda: len(comparing.compared) == 2 + MAX_CONCURRENT)
        comparing.gate.set()
        assert known.result(SECONDS)
        assert not any(guess.result(SECONDS) for guess in guesses)


def test_a_neighbour_who_guesses_at_a_user_does_not_keep_out_those_behind_the_same_proxy(comparing: Comparing) -> None:
    assert comparing.verify(b"alice")
    assert comparing.verify(b"bob")
    comparing.seconds += REMEMBER_SECONDS + 1
    # Guesses wait with the other strangers, and the failures of before are nobody else's.
    with comparing.busy(MAX_PENDING_PER_ADDRESS) as guesses, ThreadPoolExecutor(2) as pool:
        logins = [Login(user, b"secret") for user in HASHES]
        right = [pool.submit(comparing.verifier.verify, HASHES, login, HERE, 99) for login in logins]
        eventually(lambda: len(comparing.verifier._under_way) == MAX_PENDING_PER_ADDRESS + 2)
        comparing.gate.set()
        assert all(each.result(SECONDS) for each in right)
    assert not any(guess.result(SECONDS) for guess in guesses)


@pytest.mark.parametrize(
    ("failures", "most"), [(0, MAX_PENDING_PER_ADDRESS), (2, MAX_PENDING_PER_ADDRESS // 4), (99, 1)]
)
def test_an_address_that_failed_may_have_fewer_logins_pending(comparing: Comparing, failures: int, most: int) -> None:
    with comparing.busy(most):
        with pytest.raises(TooManyLogins):
            comparing.verifier.verify(HASHES, Login(b"bob", b"secret"), HERE, failures)
        comparing.gate.set()
        assert comparing.verify(b"bob", b"secret", "192.0.2.2")


def test_addresses_do_not_help_beyond_the_bound(comparing: Comparing) -> None:
    assert MAX_PENDING_PER_ADDRESS < MAX_PENDING
    comparing.gate.clear()
    with ThreadPoolExecutor(MAX_PENDING + 1) as pool:
        addresses = [f"192.0.2.{number}" for number in range(MAX_PENDING + 1)]
        answers = [pool.submit(comparing.verify, b"alice", each.encode(), each) for each in addresses]
        refused = next(as_completed(answers, SECONDS))
        assert isinstance(refused.exception(), TooManyLogins)
        comparing.gate.set()
    assert sum(answer.exception() is None for answer in answers) == MAX_PENDING


def test_failures_are_answered_later_each_time() -> None:
    seconds = [0.0]
    slowdown = Slowdown(lambda: seconds[0])

    delays = [slowdown.failed(HERE) for _ in range(50)]
    assert delays[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert delays[-1] == MAX_SECONDS
    assert slowdown.failed("192.0.2.2") == FIRST_SECONDS
    seconds[0] += FORGET_SECONDS + 1
    assert slowdown.failed(HERE) == FIRST_SECONDS


def test_guesses_at_one_user_from_many_addresses_are_slowed_and_no_other_user_is() -> None:
    slowdown = Slowdown(lambda: 0.0)
    delays = [slowdown.failed(f"192.0.2.{number}", "alice") for number in range(50)]
    assert delays[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert delays[-1] == MAX_SECONDS
    assert slowdown.failed("198.51.100.1", "bob") == FIRST_SECONDS
    assert [slowdown.failures(address) for address in ("192.0.2.7", "198.51.100.1", "203.0.113.1")] == [1, 1, 0]


class Door:
    """A guard whose waits end at a gate."""

    def __init__(self, comparing: Comparing, folder: Path) -> None:
        file = folder / "htpasswd"
        file.write_text(f"alice:{ALICE.decode()}\n", encoding="utf-8")
        self.gate = threading.Event()
        self.waiting = threading.Semaphore(0)
        self._guard = Guard("r", Users(file, {}), comparing.verifier, Slowdown(), self.sleep)
        self._app = Flask("door")

    def sleep(self, seconds: float) -> None:
        assert FIRST_SECONDS <= seconds <= MAX_SECONDS
        self.waiting.release()
        assert self.gate.wait(SECONDS)

    def knock(self, text: bytes) -> str:
        with self._app.test_request_context("/v2/", headers={"Host": "cache.example"}):
            return self._guard.admit(header(text), HERE)


def test_failures_that_wait_are_bounded(comparing: Comparing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_cache.api.auth.MAX_WAITING", 2)
    door = Door(comparing, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        slow = [pool.submit(door.knock, b"alice:wrong") for _ in range(2)]
        assert all(door.waiting.acquire(timeout=SECONDS) for _ in slow)
        with pytest.raises(TooManyRequests):
            door.knock(b"alice:wrong")
        # Whoever is right does not wait for those who are not.
        assert door.knock(b"alice:secret") == "alice"
        door.gate.set()
        for answer in slow:
            with pytest.raises(Unauthorized, match="wrong user name or password: docker login cache"):
                answer.result(SECONDS)


def test_a_full_queue_is_told_from_a_wrong_password(comparing: Comparing, tmp_path: Path) -> None:
    door = Door(comparing, tmp_path)
    with comparing.busy(MAX_PENDING_PER_ADDRESS), pytest.raises(TooManyRequests) as caught:
        door.knock(b"alice:secret")
    assert caught.value.retry_after
