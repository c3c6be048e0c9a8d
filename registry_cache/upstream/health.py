"""Is an upstream up, does it limit us, and what does that mean for the next request?

Each worker finds out for itself whether upstream is up. What upstream says of its rate limit is shared by all workers:
a limit that one of them learns stops the others, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import requests

from registry_cache.errors import RegistryError, TooManyRequests, UpstreamDown, UpstreamError
from registry_cache.oci.names import Repository
from registry_cache.runtime.log import Log
from registry_cache.upstream.breakers import Breaker, NameBreakers, Outage, Subject
from registry_cache.upstream.late_answers import LateAnswers
from registry_cache.upstream.rate_limits import Limits, answered, read_limits, refused
from registry_cache.upstream.refusal import retry_after

# Names alone that fail are reported as an outage once nothing was answered for so long.
DOWN_AFTER_SECONDS = 1.0

_log = Log(__name__)


class SharedHealth(Protocol):
    """Where workers leave what they know for each other and for ``registry-cache status``."""

    def limits(self) -> Limits: ...
    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        """Replace the limits by what ``change`` makes of them, while no other worker does, and return that."""

    def is_down(self) -> bool: ...
    def put_down(self, since: float | None, cause: str) -> None:
        """Upstream has failed ``since`` (seconds since the epoch), or answers again (None)."""


class PrivateHealth:
    """A ``SharedHealth`` in memory, for one process that shares nothing."""

    def __init__(self) -> None:
        self.known = Limits()

    def limits(self) -> Limits:
        return self.known

    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        self.known = change(self.known)
        return self.known

    def is_down(self) -> bool:
        return False

    def put_down(self, since: float | None, cause: str) -> None:
        """Do nothing: nobody reads it."""


class Health:
    """What is known of the upstream ``name``."""

    def __init__(self, name: str, shared: SharedHealth, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._shared = shared
        self._clock = clock
        # Connections that cannot be made say something about the registry; a 5xx or silence says it about a name.
        self._connections = Breaker(time.monotonic, failures=3)
        self._names = NameBreakers(time.monotonic, failures=3)
        # Requests that have a copy wait only briefly, so a slow upstream fails them where it serves the others.
        self._late_answers = LateAnswers(time.monotonic)
        self._is_down = False
        self._answered_at = 0.0
        self._warned_low = False

    def admit(self, *, counted: bool, has_copy: bool, about: Subject | None = None, follows_head: bool = False) -> None:
        """Return where a request may be made. Raises TooManyRequests, UpstreamDown at once where it may not.

        ``counted``: upstream counts it as a pull. ``has_copy``: there is something to serve instead. ``about``: what is
        asked for. ``follows_head``: it is part of what the breakers have admitted already.
        """
        now = self._clock()
        limits = self._shared.limits()
        until = limits.blocked_until(counted=counted)
        if until > now and (counted or not self.claim_look()):
            raise self._limited(limits, until - now, has_copy=has_copy)
        outage = None if follows_head else self._outage(about)
        if outage:
            raise self._down(outage, outage.wait)

    def claim_look(self) -> bool:
        """Return whether the caller is to find out, by a free request, if upstream still limits us: one a minute is."""
        now, is_ours = self._clock(), False

        def claim(known: Limits) -> Limits:
            nonlocal is_ours
            is_ours = known.look_is_due(now)
            return replace(known, looked_at=now) if is_ours else known

        if self._shared.limits().look_is_due(now):
            self._shared.update_limits(claim)
        return is_ours

    def outage(self, about: Subject | None = None) -> UpstreamDown | None:
        """Return why a request that has a copy should not wait for upstream; None where an answer may come in time.

        With a ``retry_after``, upstream must not be asked either.
        """
        outage = self._connections.outage() or self._name_outage(about)
        if outage and outage.wait > 0:
            return self._down(outage, outage.wait)
        if outage is None and about and self._late_answers.is_any_late:
            outage = self._late_answers.outage(about.repository)
        return self._down(outage, None) if outage else None

    def record_timely_answer(self, repository: Repository) -> None:
        """An answer came within the time that requests with a copy wait."""
        late = self._late_answers
        late.timely_at = late.clock()
        if late.is_any_late:
            late.record_timely(str(repository))

    def record_late_answer(self, error: UpstreamError, repository: Repository) -> None:
        """A request that has a copy waited in vain."""
        self._late_answers.record_late(error.message, str(repository))

    def record_answer(self, about: Subject | None = None) -> None:
        """Upstream answered, whatever it said."""
        self._connections.record_success()
        if about:
            self._names.record_answer(about)
        self._answered_at = self._clock()
        # The worker that noted the outage may have died since.
        if self._is_down or self._shared.is_down():
            self._is_down = False
            _log.info("upstream answers again", upstream=self._name)
            self._shared.put_down(None, "")

    def record_failure(self, error: UpstreamError, about: Subject | None = None) -> None:
        """Upstream did not answer, or answered 5xx: for one name, or None where no connection could be made."""
        if about is None:
            self._connections.record_failure(error.message)
        else:
            self._connections.record_success()
            self._names.record_failure(error.message, about)
        outage = self._connections.outage() or self._name_outage(about)
        is_answering = about is not None and self._clock() - self._answered_at < DOWN_AFTER_SECONDS
        if outage and not self._is_down and not is_answering:
            self._is_down = True
            _log.error("upstream is down", upstream=self._name, cause=error)
            self._shared.put_down(self._clock() - outage.since, error.message)

    def record_limits(self, response: requests.Response, *, counted: bool) -> None:
        """Note what ``response`` says of the rate limit."""
        if response.status_code == 429 or "ratelimit-remaining" in response.headers:
            self._update(lambda known, now: read_limits(known, response.headers, now))
        if response.status_code == 429:
            wait = retry_after(response)
            self._update(lambda known, now: refused(known, counted=counted, retry_after=wait, now=now))
        elif _is_answer(response) and self._shared.limits().blocked_until(counted=True) > self._clock():
            self._update(lambda known, now: answered(known, response.headers, counted=counted, now=now))

    def record_token_limit(self, error: TooManyRequests) -> None:
        """The token server limits us; nothing can be asked without a token."""
        self._update(lambda known, now: refused(known, counted=False, retry_after=error.retry_after, now=now))

    def explain(self, error: RegistryError, *, has_copy: bool) -> RegistryError:
        """Return ``error``; for upstream's own 429, one that says what is known of the limit."""
        if not isinstance(error, TooManyRequests):
            return error
        limits = self._shared.limits()
        wait = limits.blocked_until(counted=True) - self._clock()
        return self._limited(limits, max(1.0, wait), has_copy=has_copy)

    def _outage(self, about: Subject | None) -> Outage | None:
        """Admit a request for ``about``, or return why it may not be made."""
        outage = self._name_outage(about)
        if outage is None or outage.wait == 0:
            return self._connections.admit() or (self._names.admit(about) if about else None)
        return outage

    def _name_outage(self, about: Subject | None) -> Outage | None:
        return self._names.outage(about) if about else None

    def _update(self, change: Callable[[Limits, float], Limits]) -> None:
        limits = self._shared.update_limits(lambda known: change(known, self._clock()))
        if limits.low and not self._warned_low:
            _log.warning("upstream's rate limit is nearly used up", upstream=self._name, left=limits.words())
        self._warned_low = limits.low

    def _down(self, outage: Outage, wait: float | None) -> UpstreamDown:
        failing = f"{self._name} has been failing for {outage.since:.0f} s ({outage.cause})"
        again = "it is being tried again" if wait is None else f"it is tried again in {wait:.0f} s"
        return UpstreamDown(f"{failing}; {again}", retry_after=wait)

    def _limited(self, limits: Limits, wait: float, *, has_copy: bool) -> TooManyRequests:
        """Return the error that tells a person the limit, its source and when to try again."""
        words = limits.words()
        message = f"{self._name} limits this cache" + (f": {words}" if words else "")
        # With a copy this becomes the Warning header on it.
        copy = "" if has_copy else "; no cached copy"
        minutes = f"{wait / 60:.0f} min" if wait >= 120 else f"{wait:.0f} s"
        return TooManyRequests(f"{message}{copy}; try again in {minutes}", retry_after=wait)


def _is_answer(response: requests.Response) -> bool:
    """Return whether the registry looked for what it was asked for: one that limits us refuses before that."""
    return response.status_code < 400 or response.status_code == 404
