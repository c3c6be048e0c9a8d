"""What a download reads in a cluster: the registry's answer where we lead, a peer's stream where we follow."""

from __future__ import annotations

import time
from collections.abc import Iterator

from registry_cache.cluster.keeper import LeaseKeeper, Led
from registry_cache.errors import UpstreamUnavailable
from registry_cache.policy.leader_election import Lease, Signs
from registry_cache.pull.source import RangeResponse, WatchedBody
from registry_cache.upstream.peer import SILENCE_SECONDS, PeerBody

# A stream that its leader has ended without a successor is read on for so long: it may be the last bytes.
_LAST_BYTES_SECONDS = 1.0


def led_body(body: RangeResponse, keeper: LeaseKeeper, led: Led) -> RangeResponse:
    """Return the registry's answer to us as the leader: it ends as soon as another node is found to lead."""

    def confirm(size: int) -> None:
        keeper.confirm(led)
        if led.is_lost:
            raise UpstreamUnavailable("another node asks the registry for this now")

    return WatchedBody(body, confirm)


class NearBody:
    """A peer's answer, watched by its leader's lease."""

    stop: int | None = None

    def __init__(
        self,
        keeper: LeaseKeeper,
        digest: str,
        body: PeerBody,
        lease: Lease | None,
        signs: Signs,
        patience: float = SILENCE_SECONDS,
    ) -> None:
        """``patience``: seconds of silence that end it where no lease tells whether its leader lives."""
        self.start, self.size = body.start, body.size
        self._keeper = keeper
        self._body = body
        self._lease = lease
        self._signs = signs
        self._patience = patience
        keeper.follow(digest, self)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body

    def close(self) -> None:
        self._keeper.unfollow(self)
        self._body.close()

    def look(self, lease: Lease | None, *, is_away: bool) -> None:
        """Called by the keeper: end a stream that brings nothing, if its leader has died."""
        silent = time.monotonic() - self._body.read_at
        if is_away or self._lease is None:
            is_over = silent > self._patience
        elif lease is None or lease.id != self._lease.id:
            is_over = silent > _LAST_BYTES_SECONDS
        else:
            is_over = silent > _LAST_BYTES_SECONDS and lease.is_overdue
        if is_over:
            self._signs.was_silent = True
            self._body.abort()
