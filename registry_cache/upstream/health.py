"""The state of one upstream: is it up, does it limit us; and what that means for the next request.

Each worker finds out for itself whether upstream is up. What it says of limits is one truth for all workers: they keep
it where ``board`` says, so that a limit learned by one stops the others, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import requests

from registry_cache.errors import RegistryError, TooManyRequests, UpstreamDown, UpstreamError, UpstreamTimeout
from registry_cache.log import Log
from registry_cache.upstream import faults
from registry_cache.upstream.breaker import Breaker, ask
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
        # Those who have a copy wait shortly, so a slow upstream fails them where it serves the patient: each kind of
        # waiting has its own breaker, and the one opens sooner whose users lose nothing by not asking.
        self._patient = Breaker(time.monotonic, failures=3)
        self._hasty = Breaker(time.monotonic, failures=2)
        self._down = False
        self._warned_low = False

    def admit(self, *, counted: bool, hasty: bool) -> None:
        """Return where a request may be made. Raises TooManyRequests, UpstreamDown at once where it may not.

        ``counted``: upstream counts it as a pull. ``hasty``: there is a copy to serve instead.
        """
        now = self._clock()
        limits = self._board.limits()
        until = limits.blocked_until(counted=counted)
        if until > now:
            raise self._limited(limits, until - now, hasty=hasty)
        refusal = ask(self._hasty, self._patient) if hasty else ask(self._patient)
        if refusal:
            raise UpstreamDown(
                f"{self._name} has been failing for {refusal.since:.0f} s ({refusal.cause}); "
                f"it is tried again in {refusal.wait:.0f} s",
                retry_after=refusal.wait,
            )

    def seen(self, response: requests.Response, *, counted: bool) -> None:
        """Take note of what ``response`` says of limits."""
        if response.status_code == 429 or "ratelimit-remaining" in response.headers:
            wait = faults.retry_after(response)
            self._update(lambda known, now: read_limits(known, response.headers, now))
            if response.status_code == 429:
                self._update(lambda known, now: refused(known, counted=counted, retry_after=wait, now=now))

    def throttled(self, error: TooManyRequests) -> None:
        """Take note that the token server limits us: nothing can be asked without it."""
        self._update(lambda known, now: refused(known, counted=False, retry_after=error.retry_after, now=now))

    def _update(self, change: Callable[[Limits, float], Limits]) -> None:
        self._warn(self._board.update_limits(lambda known: change(known, self._clock())))

    def answered(self, *, hasty: bool) -> None:
        """Upstream answered in time, whatever it said."""
        self._patient.success()
        if hasty:
            self._hasty.success()
        # Whoever noted it may have died since.
        if self._down or self._board.is_down():
            self._down = False
            _log.info("upstream answers again", upstream=self._name)
            self._board.put_down(None, "")

    def failed(self, error: UpstreamError, *, hasty: bool) -> None:
        """Upstream did not answer, or answered 5xx."""
        if hasty:
            self._hasty.failure(error.message)
        # A short wait that was too short says nothing to those who would wait longer.
        if not (hasty and isinstance(error, UpstreamTimeout)):
            self._patient.failure(error.message)
        since = self._patient.open_since()
        if since is not None and not self._down:
            self._down = True
            _log.error("upstream is down", upstream=self._name, cause=error)
            self._board.put_down(self._clock() - since, error.message)

    def refusal(self, error: RegistryError, *, hasty: bool) -> RegistryError:
        """Return ``error``, and for upstream's own 429 one that says what is known of the limit."""
        if not isinstance(error, TooManyRequests):
            return error
        limits = self._board.limits()
        wait = limits.blocked_until(counted=True) - self._clock()
        return self._limited(limits, max(1.0, wait), hasty=hasty)

    def _limited(self, limits: Limits, wait: float, *, hasty: bool) -> TooManyRequests:
        """Return the error that tells a person limit, source and when to try again."""
        words = limits.words()
        message = f"{self._name} limits this cache" + (f": {words}" if words else "")
        # With a copy this becomes the warning that goes along with it.
        copy = "" if hasty else "; no cached copy"
        minutes = f"{wait / 60:.0f} min" if wait >= 120 else f"{wait:.0f} s"
        return TooManyRequests(f"{message}{copy}; try again in {minutes}", retry_after=wait)

    def _warn(self, limits: Limits) -> None:
        if limits.low and not self._warned_low:
            _log.warning("upstream's rate limit is nearly used up", upstream=self._name, left=limits.words())
        self._warned_low = limits.low
