"""The state of one upstream: is it up, does it limit us; and what that means for the next request.

Each worker finds out for itself whether upstream is up. What it says of limits is one truth for all workers: they keep
it where ``board`` says, so that a limit learned by one stops the others, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import requests

from registry_cache.errors import RegistryError, TooManyRequests, UpstreamDown, UpstreamError
from registry_cache.runtime.log import Log
from registry_cache.upstream import errors
from registry_cache.upstream.breaker import Breaker, Refusal
from registry_cache.upstream.limits import Limits, read_limits, refused

_log = Log(__name__)


class Board(Protocol):
    """Where workers leave what they know for each other and for ``registry-cache status``."""

    def limits(self) -> Limits: ...
    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        """Replace the limits by what ``change`` makes of them, and return that; no other worker does so meanwhile."""

    def is_down(self) -> bool: ...
    def put_down(self, since: float | None, cause: str) -> None:
        """Upstream has failed ``since`` (seconds since the epoch), or answers again (None)."""


class Health:
    """What is known of the upstream ``name``."""

    def __init__(self, name: str, board: Board, clock: Callable[[], float] = time.time) -> None:
        self._name = name
        self._board = board
        self._clock = clock
        # Those who have a copy wait shortly, so a slow upstream fails them where it serves the patient. Each kind of
        # waiting has its own breaker: the hasty one stops nobody from asking, only from waiting for the answer.
        self._patient = Breaker(time.monotonic, failures=3)
        self._hasty = Breaker(time.monotonic, failures=2)
        self._down = False
        self._warned_low = False

    def admit(self, *, counted: bool, has_copy: bool) -> None:
        """Return where a request may be made. Raises TooManyRequests, UpstreamDown at once where it may not.

        ``counted``: upstream counts it as a pull. ``has_copy``: there is something to serve instead.
        """
        now = self._clock()
        limits = self._board.limits()
        until = limits.blocked_until(counted=counted)
        if until > now:
            raise self._limited(limits, until - now, has_copy=has_copy)
        refusal = self._patient.ask()
        if refusal:
            raise self._down_for(refusal, f"it is tried again in {refusal.wait:.0f} s", refusal.wait)

    def outlook(self) -> UpstreamDown | None:
        """Return why who has a copy should not wait for an answer now; None where it may come in time.

        It has a ``retry_after`` where upstream must not be asked either.
        """
        refusal = self._patient.look()
        if refusal and refusal.wait > 0:
            return self._down_for(refusal, f"it is tried again in {refusal.wait:.0f} s", refusal.wait)
        refusal = refusal or self._hasty.look()
        return self._down_for(refusal, "it is being tried again", None) if refusal else None

    def _down_for(self, refusal: Refusal, again: str, wait: float | None) -> UpstreamDown:
        failing = f"{self._name} has been failing for {refusal.since:.0f} s ({refusal.cause})"
        return UpstreamDown(f"{failing}; {again}", retry_after=wait)

    def in_time(self) -> None:
        """An answer came in the time for which those who have a copy wait."""
        self._hasty.success()

    def too_late(self, error: UpstreamError) -> None:
        """Somebody who has a copy waited in vain."""
        self._hasty.failure(error.message)

    def seen(self, response: requests.Response, *, counted: bool) -> None:
        """Take note of what ``response`` says of limits."""
        if response.status_code == 429 or "ratelimit-remaining" in response.headers:
            wait = errors.retry_after(response)
            self._update(lambda known, now: read_limits(known, response.headers, now))
            if response.status_code == 429:
                self._update(lambda known, now: refused(known, counted=counted, retry_after=wait, now=now))

    def throttled(self, error: TooManyRequests) -> None:
        """Take note that the token server limits us: nothing can be asked without it."""
        self._update(lambda known, now: refused(known, counted=False, retry_after=error.retry_after, now=now))

    def _update(self, change: Callable[[Limits, float], Limits]) -> None:
        self._warn(self._board.update_limits(lambda known: change(known, self._clock())))

    def answered(self) -> None:
        """Upstream answered, whatever it said."""
        self._patient.success()
        # Whoever noted it may have died since.
        if self._down or self._board.is_down():
            self._down = False
            _log.info("upstream answers again", upstream=self._name)
            self._board.put_down(None, "")

    def failed(self, error: UpstreamError) -> None:
        """Upstream did not answer, or answered 5xx."""
        self._patient.failure(error.message)
        refusal = self._patient.look()
        if refusal and not self._down:
            self._down = True
            _log.error("upstream is down", upstream=self._name, cause=error)
            self._board.put_down(self._clock() - refusal.since, error.message)

    def refusal(self, error: RegistryError, *, has_copy: bool) -> RegistryError:
        """Return ``error``, and for upstream's own 429 one that says what is known of the limit."""
        if not isinstance(error, TooManyRequests):
            return error
        limits = self._board.limits()
        wait = limits.blocked_until(counted=True) - self._clock()
        return self._limited(limits, max(1.0, wait), has_copy=has_copy)

    def _limited(self, limits: Limits, wait: float, *, has_copy: bool) -> TooManyRequests:
        """Return the error that tells a person limit, source and when to try again."""
        words = limits.words()
        message = f"{self._name} limits this cache" + (f": {words}" if words else "")
        # With a copy this becomes the warning that goes along with it.
        copy = "" if has_copy else "; no cached copy"
        minutes = f"{wait / 60:.0f} min" if wait >= 120 else f"{wait:.0f} s"
        return TooManyRequests(f"{message}{copy}; try again in {minutes}", retry_after=wait)

    def _warn(self, limits: Limits) -> None:
        if limits.low and not self._warned_low:
            _log.warning("upstream's rate limit is nearly used up", upstream=self._name, left=limits.words())
        self._warned_low = limits.low
