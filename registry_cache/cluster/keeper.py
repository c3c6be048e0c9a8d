"""One thread a process that renews all leases of its downloads, and watches the leases of those that it follows.

It runs while there is something to look at. A leader that lost its lease is told so, and stops asking the registry.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import Leases
from registry_cache.policy.leader_election import LEASE_SECONDS, LOOK_SECONDS, Lease
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log

_log = Log(__name__)


class Led:
    """A download that this process leads. ``is_lost``: another node has the lease, and is to be followed."""

    def __init__(self, digest: str, lease: Lease) -> None:
        self.digest = digest
        self.lease = lease
        self.is_lost = False
        self.confirmed_at = time.monotonic()


class Follower(Protocol):
    """A stream from a peer."""

    def look(self, lease: Lease | None, *, is_away: bool) -> None:
        """Called every second with the lease of the blob as it is now; ``is_away``: nobody knows it."""


class LeaseKeeper:
    """The keeper of a process."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._mutex = threading.Lock()
        self._led: set[Led] = set()
        self._followers: dict[Follower, str] = {}
        self._is_running = False

    def lead(self, digest: str, lease: Lease) -> Led:
        """Renew ``lease`` until ``leave``; one that could not be written is written as soon as that is possible."""
        led = Led(digest, lease)
        with self._mutex:
            self._led.add(led)
        self._begin()
        return led

    def leave(self, led: Led) -> None:
        """Renew it no more."""
        with self._mutex:
            self._led.discard(led)

    def follow(self, digest: str, follower: Follower) -> None:
        """Tell ``follower`` of the lease every second, until ``unfollow``."""
        with self._mutex:
            self._followers[follower] = digest
        self._begin()

    def unfollow(self, follower: Follower) -> None:
        with self._mutex:
            self._followers.pop(follower, None)

    def confirm(self, led: Led) -> None:
        """Return at once, unless the lease may have run out unnoticed, as where this process was stopped: then look."""
        if time.monotonic() - led.confirmed_at > LEASE_SECONDS and not led.is_lost:
            self._renew([led])

    def _begin(self) -> None:
        with self._mutex:
            starts, self._is_running = not self._is_running, True
        if starts:
            threading.Thread(target=self._run, name="leases", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._mutex:
                led = [each for each in self._led if not each.is_lost]
                followers = dict(self._followers)
                if not self._led and not followers:
                    self._is_running = False
                    return
            try:
                self._renew(led)
                self._tell(followers)
            except Exception:  # noqa: BLE001 — without this thread no lease is renewed any more
                _log.exception("the look at leases ended with a defect")

    def _renew(self, led: list[Led]) -> None:
        # A lease that cannot be looked at is kept: Redis decides when it is back, if another node leads by then.
        now = time.monotonic()
        for each in led:
            each.confirmed_at = now
        if not led:
            return
        try:
            renewed = self._leases.renew([(each.digest, each.lease) for each in led])
        except RedisAway:
            return
        for each, is_ours in zip(led, renewed, strict=True):
            if not is_ours:
                each.is_lost = True
                metrics.count_lease("lost")
                _log.warning("another node leads this download now; following it", digest=each.digest)

    def _tell(self, followers: dict[Follower, str]) -> None:
        if not followers:
            return
        try:
            found = self._leases.read(list(followers.values()))
        except RedisAway:
            for follower in followers:
                follower.look(None, is_away=True)
            return
        for follower, lease in zip(followers, found, strict=True):
            follower.look(lease, is_away=False)
