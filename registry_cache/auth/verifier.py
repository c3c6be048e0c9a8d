"""Whether a password is a user's. One bcrypt a minute for each pair, however many requests carry it.

What is remembered is a keyed hash of name, password and the entry in the file: from memory alone nobody gets a
password back, and a changed or removed entry ends what was remembered with it.
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
from cachetools import TTLCache

from registry_cache.auth import htpasswd
from registry_cache.auth.basic import Login
from registry_cache.auth.slowdown import network
from registry_cache.runtime import threadpool
from registry_cache.runtime.log import Log

REMEMBER_SECONDS = 60.0
# Pairs; more users than that, each minute, pay one bcrypt more.
_REMEMBERED = 4096
# At once in a worker. bcrypt is nothing but computing: more would take the cores from those who are served, and the
# pool's other threads from the commits of downloads.
MAX_CONCURRENT = 2
# Waiting or at work. At cost 12 the last of them waits some five seconds.
MAX_PENDING = 32
# Of these for one address, so that a flood of one leaves room for others.
MAX_PENDING_PER_ADDRESS = 24
# For a turn: longer than 32 of them take at a cost that anybody uses.
WAIT_SECONDS = 30.0
# Where the file holds nobody: what a password is compared with all the same.
_NOBODY = b"$2b$10$" + b"." * 53

_log = Log(__name__)


class TooManyLogins(Exception):
    """So many passwords are being looked at that this one is not."""


class Verifier:
    """One for a worker. ``matches`` compares a password with a hash, on a real thread; ``clock`` is monotonic."""

    def __init__(
        self,
        matches: Callable[[bytes, bytes], bool] = bcrypt.checkpw,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._matches = matches
        self._secret = secrets.token_bytes(32)
        # Two, so that a flood of wrong pairs cannot push out the right ones.
        self._right: TTLCache[bytes, bool] = TTLCache(_REMEMBERED, REMEMBER_SECONDS, timer=clock)
        self._wrong: TTLCache[bytes, bool] = TTLCache(_REMEMBERED, REMEMBER_SECONDS, timer=clock)
        self._under_way: dict[bytes, Future[bool]] = {}
        self._addresses: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(MAX_CONCURRENT)

    def verify(self, hashes: Mapping[bytes, bytes], login: Login, address: str | None) -> bool:
        """Tell whether the login is one of ``hashes``. Raises TooManyLogins.

        An unknown user name takes as long as a known one.
        """
        if not login.possible:
            return False
        stored = hashes.get(login.user)
        compared = htpasswd.impostor(self._somebody(hashes, login.user)) if stored is None else stored
        key = self._key(login, compared)
        with self._lock:
            if (known := self._remembered(key)) is not None:
                return known
            answer = self._under_way.get(key)
            mine = answer is None
            if answer is None:
                answer = self._begin(key, network(address))
        if mine:
            self._find_out(key, answer, login, compared, known=stored is not None, who=network(address))
        try:
            return answer.result(WAIT_SECONDS)
        except TimeoutError:
            raise TooManyLogins from None

    def _begin(self, key: bytes, who: str) -> Future[bool]:
        if len(self._under_way) >= MAX_PENDING or self._addresses[who] >= MAX_PENDING_PER_ADDRESS:
            raise TooManyLogins
        self._addresses[who] += 1
        answer = self._under_way[key] = Future()
        return answer

    def _find_out(
        self, key: bytes, answer: Future[bool], login: Login, compared: bytes, *, known: bool, who: str
    ) -> None:
        """Fill ``answer``, whatever happens: others wait for it."""
        try:
            with self._turn():
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
                self._addresses[who] -= 1
                # Drops the zeros: else every address that ever came would stay.
                self._addresses += Counter()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=WAIT_SECONDS):
            raise TooManyLogins
        try:
            yield
        finally:
            self._turns.release()

    def _remembered(self, key: bytes) -> bool | None:
        return True if self._right.get(key) else self._wrong.get(key)

    def _somebody(self, hashes: Mapping[bytes, bytes], user: bytes) -> bytes:
        """Return the hash of a user, always the same for a name: where costs differ, unknown names' differ as much."""
        if not hashes:
            return _NOBODY
        drawn = hmac.digest(self._secret, user, hashlib.sha256)
        return list(hashes.values())[int.from_bytes(drawn) % len(hashes)]

    def _key(self, login: Login, compared: bytes) -> bytes:
        # Each part with its length: no two logins run together to the same text.
        parts = (login.user, login.password, compared)
        text = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._secret, text, hashlib.sha256)
