"""Circuit breakers: after repeated failures, refuse at once; one probe at a time finds out when upstream is back.

A ``Breaker`` is of one kind of failure. ``NameBreakers`` are of single names and of repositories: what fails for some
of them must not stop questions about others. A client chooses the names that are asked for, and a registry may answer
5xx to some of them for ever. So a name that fails again and again is refused alone; its repository is refused once
several of its names fail and none is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from cachetools import LRUCache

from registry_cache.oci.names import Reference, Repository

# Seconds from opening to the first probe, and the longest time between two probes.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0

# So many names of a repository must fail before its other names are refused as well.
MIN_NAMES = 3
# And none may have been answered for so long, or whoever asks for bad names all the time would outrun the others.
ANSWERED_SECONDS = 10.0

# Those that failed longest ago are forgotten, and then asked about once more than needed.
_MAX_REPOSITORIES, _MAX_NAMES = 1000, 100


@dataclass(frozen=True, slots=True)
class Outage:
    """Why a breaker is open: the last failure's ``cause``, for how many seconds, and seconds until the next probe; a
    ``wait`` of 0 means that one is due.
    """

    cause: str
    since: float
    wait: float


class Breaker:
    """Opens after so many ``failures`` in a row. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], failures: int) -> None:
        self._clock = clock
        self._failures = failures
        self._mutex = threading.Lock()
        self._in_a_row = 0
        self._since = 0.0
        self._cause = ""
        self._probe_at = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._is_probing = False

    def record_success(self) -> None:
        """Upstream answered, whatever it said."""
        # Read without the lock, as in ``_is_closed``.
        if self._in_a_row == 0:
            return
        with self._mutex:
            self._in_a_row, self._pause, self._is_probing = 0, FIRST_PAUSE_SECONDS, False

    def record_failure(self, cause: str) -> None:
        """Upstream did not answer."""
        with self._mutex:
            now = self._clock()
            if self._in_a_row == 0:
                self._since = now
            self._in_a_row += 1
            self._cause = cause
            if self._in_a_row > self._failures:
                # Many requests may have been under way when it opened; only a probe shows that upstream is still down.
                if not self._is_probing:
                    return
                self._pause = min(self._pause * 2, MAX_PAUSE_SECONDS)
            self._probe_at, self._is_probing = now + self._pause, False

    def outage(self) -> Outage | None:
        """Return why it is open; None while closed. Admits nothing."""
        if self._is_closed:
            return None
        with self._mutex:
            return self._outage(self._clock())

    def admit(self) -> Outage | None:
        """Return why not to ask; None where the caller may, and must record what came of it.

        While open, one caller a pause gets None: the probe.
        """
        if self._is_closed:
            return None
        with self._mutex:
            now = self._clock()
            outage = self._outage(now)
            if outage is None or outage.wait > 0:
                return outage
            # The next probe is due a pause from now, even if this one is never recorded.
            self._probe_at, self._is_probing = now + self._pause, True
            return None

    @property
    def _is_closed(self) -> bool:
        """Read without the lock, by each pull of a tag: a value that is a moment old does no harm."""
        return self._in_a_row < self._failures

    def _outage(self, now: float) -> Outage | None:
        if self._is_closed:
            return None
        return Outage(self._cause, now - self._since, max(0.0, self._probe_at - now))


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about: a repository, and the name in it by the path of the question."""

    repository: str
    name: str

    @classmethod
    def manifest(cls, repository: Repository, reference: Reference) -> Subject:
        """Return what questions about a manifest are about."""
        return cls(str(repository), f"{repository}/manifests/{reference}")


def is_widespread(names: int, since_answer: float | None) -> bool:
    """Decide whether a repository fails, and not only some of its names.

    ``names`` of it have failed since they were last answered; the last answer for any name was ``since_answer`` seconds
    ago, None for never.
    """
    return names >= MIN_NAMES and (since_answer is None or since_answer >= ANSWERED_SECONDS)


@dataclass(slots=True)
class _Repository:
    whole: Breaker
    names: LRUCache[str, Breaker] = field(default_factory=lambda: LRUCache(_MAX_NAMES))
    answered_at: float | None = None


class NameBreakers:
    """The breakers of one registry. Each opens after so many ``failures`` in a row. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float], failures: int) -> None:
        self._clock = clock
        self._failures = failures
        self._mutex = threading.Lock()
        self._repositories: LRUCache[str, _Repository] = LRUCache(_MAX_REPOSITORIES)

    def record_answer(self, about: Subject) -> None:
        """The registry answered, whatever it said."""
        if not self._repositories:
            # Nothing has failed, which is the rule; read without the lock.
            return
        with self._mutex:
            repository = self._repositories.get(about.repository)
            if repository:
                repository.names.pop(about.name, None)
                repository.answered_at = self._clock()
                repository.whole.record_success()

    def record_failure(self, cause: str, about: Subject) -> None:
        """The registry answered 5xx for a name, or nothing."""
        with self._mutex:
            repository = self._repositories.get(about.repository)
            if repository is None:
                repository = self._repositories[about.repository] = _Repository(Breaker(self._clock, failures=1))
            name = repository.names.get(about.name)
            if name is None:
                name = repository.names[about.name] = Breaker(self._clock, self._failures)
            name.record_failure(cause)
            answered_at = repository.answered_at
            since_answer = None if answered_at is None else self._clock() - answered_at
            if is_widespread(len(repository.names), since_answer):
                repository.whole.record_failure(cause)

    def outage(self, about: Subject) -> Outage | None:
        """Return why a name is not to be asked for; None where it may be. Admits nothing."""
        return next((outage for breaker in self._of(about) if (outage := breaker.outage())), None)

    def admit(self, about: Subject) -> Outage | None:
        """Return why not to ask; None where the caller may, and must record what came of it."""
        breakers = self._of(about)
        # Looked at first: a probe that the one breaker admits and the other refuses would be lost.
        waiting = (outage for breaker in breakers if (outage := breaker.outage()) and outage.wait > 0)
        return next(waiting, None) or next((outage for each in breakers if (outage := each.admit())), None)

    def _of(self, about: Subject) -> list[Breaker]:
        if not self._repositories:
            return []
        with self._mutex:
            repository = self._repositories.get(about.repository)
            if repository is None:
                return []
            name = repository.names.get(about.name)
            return [repository.whole, name] if name else [repository.whole]
