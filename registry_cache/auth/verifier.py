"""Verify passwords, with one bcrypt a minute for each login, however many requests carry it.

A result is remembered under a keyed hash of name, password and the entry in the file: nobody can read a password from
memory, and a changed or removed entry makes its results unreachable.

Users who logged in from an address before have a queue of their own there, for the password that was right: whoever
guesses, from however many addresses or from behind the same proxy, does not keep them out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager

import bcrypt
from cachetools import LRUCache, TTLCache

from registry_cache.auth import htpasswd
from registry_cache.auth.basic import Login
from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log
from registry_cache.runtime.networks import network

REMEMBER_SECONDS = 60.0
# Logins; with more of them in a minute some cost another bcrypt.
_MAX_REMEMBERED = 4096
# Comparisons at once in a worker. bcrypt only computes: more would take cores from requests, and threads of the pool
# from commits of downloads.
MAX_CONCURRENT = 2
# Logins waiting or being compared. At cost 12 the last of them waits some five seconds.
MAX_PENDING = 32
# Of these from one address, so that a flood from one leaves room for others. Each wrong password halves it.
MAX_PENDING_PER_ADDRESS = 24
# Comparisons at once that only logins known at their address may have, besides those that anybody may.
MAX_CONCURRENT_KNOWN = 1
# Pairs of an address and a user who was right there.
_MAX_KNOWN = 10_000
# Of the keyed hash of a login that was right: of 65,536 wrong passwords one joins the queue of the right ones. More
# bytes would let who reads this memory tell a right guess without bcrypt.
_HINT_SIZE = 2
# Longer than MAX_PENDING comparisons take at any cost in use.
WAIT_TIMEOUT_SECONDS = 30.0
# What a password is compared with if the file has no user.
_DUMMY = b"$2b$10$" + b"." * 53

_log = Log(__name__)


class TooManyLogins(Exception):
    """Too many logins are being compared; this one was not."""


class _Queue:
    """Logins that wait, or are being compared: bounded in all and by address, and ``turns`` of them at once."""

    def __init__(self, turns: int) -> None:
        self.turns = threading.Semaphore(turns)
        self._pending: Counter[str] = Counter()

    def enter(self, who: str, most: int) -> None:
        """Count a login of ``who``, who may have ``most``. Raises TooManyLogins."""
        if self._pending.total() >= MAX_PENDING or self._pending[who] >= most:
            raise TooManyLogins
        self._pending[who] += 1

    def leave(self, who: str) -> None:
        self._pending[who] -= 1
        # Drops the zeros: otherwise every address that ever came would stay.
        self._pending += Counter()


class Verifier:
    """One in a worker. ``matches`` compares a password with a hash, on a real thread; ``clock`` is monotonic."""

    def __init__(
        self,
        matches: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._matches = matches
        self._secret = secrets.token_bytes(32)
        # Two, so that a flood of wrong logins cannot push out the right ones.
        self._right: TTLCache[bytes, bool] = TTLCache(_MAX_REMEMBERED, REMEMBER_SECONDS, timer=clock)
        self._wrong: TTLCache[bytes, bool] = TTLCache(_MAX_REMEMBERED, REMEMBER_SECONDS, timer=clock)
        self._known: LRUCache[tuple[str, bytes], bytes] = LRUCache(_MAX_KNOWN)
        self._under_way: dict[bytes, Future[bool]] = {}
        self._lock = threading.Lock()
        self._strangers, self._acquainted = _Queue(MAX_CONCURRENT), _Queue(MAX_CONCURRENT_KNOWN)

    def verify(self, hashes: Mapping[bytes, bytes], login: Login, address: str | None, failures: int = 0) -> bool:
        """Tell whether the login is one of ``hashes``. Raises TooManyLogins.

        An unknown user name takes as long as a known one. After ``failures`` an address may have fewer logins pending.
        """
        if login.fault:
            return False
        stored = hashes.get(login.user)
        compared = htpasswd.dummy_hash(self._dummy_hash(hashes, login.user)) if stored is None else stored
        key, who = self._key(login, compared), network(address)
        queue = None
        with self._lock:
            if (known := self._remembered(key)) is not None:
                return self._acquaint(who, login, key) if known else False
            answer = self._under_way.get(key)
            if answer is None:
                queue = self._enter(who, login, key, failures)
                answer = self._under_way[key] = Future()
        if queue:
            self._compare(key, answer, login, compared, known=stored is not None, who=who, queue=queue)
        try:
            right = answer.result(WAIT_TIMEOUT_SECONDS)
        except TimeoutError:
            raise TooManyLogins from None
        with self._lock:
            return self._acquaint(who, login, key) if right else False

    def _enter(self, who: str, login: Login, key: bytes, failures: int) -> _Queue:
        """Count the login in its queue, and return that. Raises TooManyLogins."""
        if self._known.get((who, login.user)) == key[:_HINT_SIZE]:
            # A neighbour's failures are not those of this login.
            self._acquainted.enter(who, MAX_PENDING_PER_ADDRESS)
            return self._acquainted
        self._strangers.enter(who, max(1, MAX_PENDING_PER_ADDRESS >> min(failures, 8)))
        return self._strangers

    def _acquaint(self, who: str, login: Login, key: bytes) -> bool:
        """Remember that a user was right at an address; return True."""
        self._known[who, login.user] = key[:_HINT_SIZE]
        return True

    def _compare(
        self, key: bytes, answer: Future[bool], login: Login, compared: bytes, *, known: bool, who: str, queue: _Queue
    ) -> None:
        """Set the result of ``answer``, whatever happens: others wait for it."""
        try:
            with self._turn(queue):
                right = threadpool.run(self._matches, login.password, compared) and known
            _log.debug("compared by bcrypt", user=login.name, right=right)
            with self._lock:
                (self._right if right else self._wrong)[key] = right
            answer.set_result(right)
        except BaseException as error:
            answer.set_exception(error if isinstance(error, TooManyLogins) else TooManyLogins())
            raise
        finally:
            with self._lock:
                del self._under_way[key]
                queue.leave(who)

    @contextmanager
    def _turn(self, queue: _Queue) -> Iterator[None]:
        # A turn that strangers leave is anybody's.
        turns = self._strangers.turns
        if not turns.acquire(blocking=False):
            turns = queue.turns
            if not turns.acquire(timeout=WAIT_TIMEOUT_SECONDS):
                raise TooManyLogins
        try:
            yield
        finally:
            turns.release()

    def _remembered(self, key: bytes) -> bool | None:
        return True if self._right.get(key) else self._wrong.get(key)

    def _dummy_hash(self, hashes: Mapping[bytes, bytes], user: bytes) -> bytes:
        """Return a user's hash, always the same for a name: unknown names then differ in cost as known ones do."""
        if not hashes:
            return _DUMMY
        drawn = hmac.digest(self._secret, user, hashlib.sha256)
        return list(hashes.values())[int.from_bytes(drawn) % len(hashes)]

    def _key(self, login: Login, compared: bytes) -> bytes:
        # Each part with its length: otherwise two logins could give the same text.
        parts = (login.user, login.password, compared)
        text = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._secret, text, hashlib.sha256)
