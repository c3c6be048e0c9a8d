"""A blob's download as the cluster shares it: from another node while that one downloads it, or from the registry.

It stands before the source of one download (``BlobSource.open``). Each request, the first and any after a break, goes
where ``policy.leader_election`` decides; the download itself appends, hashes, resumes and commits as it does without a
cluster.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.keeper import Led
from registry_cache.cluster.leases import LookedUp
from registry_cache.errors import RegistryError, StoreError
from registry_cache.oci.digest import Digest
from registry_cache.policy import leader_election
from registry_cache.policy.leader_election import Follow, Holder, LeaderNote, Lease, Signs, Situation
from registry_cache.pull.cluster.bodies import NearBody, led_body
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.cluster.reach import NobodyKnows
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log
from registry_cache.upstream.peer import (
    SILENCE_SECONDS,
    PeerFailed,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    ThingAtPeer,
)

# A node that has looked for so long without an answer asks the registry, whatever the others do.
SEARCH_SECONDS = 30.0
# Between two connections to a leader of which the first failed: its other workers take over within that.
_RETRY_SECONDS = 0.1
# Silence of who gets for us what we do not reach: well within ``source.RETRY_TIMEOUT_SECONDS``, which ends a download.
_DETOUR_SECONDS = 3.0

_log = Log(__name__)


class LeaderFailed(RegistryError):
    """The leader on another node ended with ``error``, which is ours as well: asking again would tell no more."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error.message)
        self.error = error


class BytesWereWrong(RegistryError):
    """The leader that was followed has found its bytes to be wrong: what is here must go, and all begins anew."""


class NearBlob:
    """One download of ``digest``, for the claim's holder. Ends by one of ``committed``, ``failed`` and ``given_up``."""

    def __init__(self, cluster: Cluster, digest: Digest, source: BlobSource) -> None:
        self.source = replace(source, open=self.open)
        self.is_near = False
        self._registry = source
        self._cluster = cluster
        self._digest, self._hex = str(digest), digest.hex
        # Whom to ask, once, for the rest of what it has in pieces.
        self._pieces: Holder | None = None
        self._knows_pieces = source.is_for_peer
        # Who is to get it for all, as others do not reach us.
        self._deputy = None if source.is_for_peer else cluster.reach.deputy(digest.hex)
        self._blob = ThingAtPeer("blobs", source.owner.upstream, str(source.owner.repository), self._digest)
        self._mutex = threading.RLock()
        self._led: Led | None = None
        self._followed: Lease | None = None
        self._signs: dict[str, Signs] = {}
        self._dead: set[str] = set()
        self._refused: set[str] = set()
        self._bid_at: float | None = None
        self._is_displaced = False
        # Whether our lease can be found, and no second node was asked to download the blob as well.
        self._wants_standby = False
        # Of the bytes so far: the node that brought some of them.
        self._brought_by: str | None = None

    # What a download calls.

    def open(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        """Ask whoever is to be asked now; as ``AskForRange``. Raises LeaderFailed and BytesWereWrong as well."""
        with self._mutex:
            if self._led is None or self._led.is_lost:
                if self._led is not None:
                    self._is_displaced = True
                    self._cluster.reach.doubt()
                self._stop_leading()
                near = self._search(start)
                if near is not None:
                    return near
        self.is_near = False
        body = self._registry.open(start, again, stop)
        if self._led is None:
            return body
        if body.size is not None and 0 < self._cluster.standby_size <= body.size and self._wants_standby:
            self._wants_standby = False
            threading.Thread(target=self._ask_standby, name=f"standby for {self._digest}", daemon=True).start()
        return led_body(body, self._cluster.keeper, self._led)

    def wrong_bytes(self) -> bool:
        """Say that the bytes so far are wrong, before they go; return whether upstream alone has brought them."""
        brought_by, self._brought_by = self._brought_by, None
        if brought_by is not None:
            self._refused.add(brought_by)
        led = self._led
        if led is not None and not led.is_lost:
            old, new = led.lease, self._new_lease()
            self._cluster.keeper.leave(led)
            try:
                kept = self._cluster.leases.replace_after_wrong_bytes(self._digest, old, new)
            except RedisAway:
                kept = True
            # A lease that another node has by now is found to be lost by the keeper's next look.
            self._led = self._cluster.keeper.lead(self._digest, new if kept else old)
        return brought_by is None

    def committed(self) -> None:
        """The blob is here: others may ask us for it."""
        self._end(is_committed=True)

    def failed(self, error: RegistryError) -> None:
        """The download has failed. What upstream said is told to those who follow; our own disk's trouble is not."""
        self._end(note=None if isinstance(error, StoreError) else self._note(error))

    def given_up(self) -> None:
        """Nobody here wants the blob any more."""
        self._end()

    # Where to ask.

    def _search(self, start: int) -> RangeResponse | None:
        """Return a peer's answer; None where the registry is to be asked, by us."""
        until = time.monotonic() + SEARCH_SECONDS
        while time.monotonic() < until:
            found = self._look()
            action = leader_election.decide(self._situation(found, start))
            match action:
                case leader_election.AskAlone():
                    self._go_alone(claims=action.claims)
                    return None
                case leader_election.Take():
                    if self._take(found):
                        return None
                case leader_election.Follow():
                    if body := self._follow(action, start):
                        return body
                case leader_election.Bid():
                    self._bid(start)
                case leader_election.Wait():
                    time.sleep(action.seconds)
                case leader_election.Adopt():
                    raise LeaderFailed(action.error)
                case leader_election.StartOver():
                    if self._followed:
                        # It may have failed by then: its second error is ours as well.
                        self._followed, self._bid_at = replace(self._followed, id=action.successor), None
                    raise BytesWereWrong("another node found these bytes to be wrong")
        self._go_alone(claims=False)
        return None

    def _look(self) -> LookedUp | None:
        """Return what Redis says; None where it is away."""
        followed = self._followed.id if self._followed else ""
        try:
            found = self._cluster.leases.look(self._digest, followed)
            self._look_for_pieces(found)
        except RedisAway:
            return None
        self._give_up_ways(found)
        lease = found.lease
        if lease and lease.id in self._signs and self._signs[lease.id].is_dead(lease):
            self._dead.add(lease.id)
        if lease and self._followed and lease.id != self._followed.id:
            self._bid_at = None
        return found

    def _look_for_pieces(self, found: LookedUp) -> None:
        """Find out, before the registry is first asked, who has pieces. Raises RedisAway."""
        if found.lease or found.holder or self._knows_pieces:
            return
        self._knows_pieces = True
        holder = self._cluster.pieces.holder(self._blob.upstream, Digest.parse(self._digest))
        # One that is gone would cost a pull the seconds in which it does not answer.
        if holder and any(node.url == holder.url for node in self._cluster.membership.known()):
            self._pieces = None if self._cluster.placement.is_resting(holder.url) else holder

    def _situation(self, found: LookedUp | None, start: int) -> Situation:
        known = Situation(
            me=self._cluster.leases.node,
            upstream=self._blob.upstream,
            repository=self._blob.repository,
            size=start,
            is_away=found is None,
            followed=self._followed.id if self._followed else "",
            dead=self._dead,
            refused=self._refused,
            displaced=self._is_displaced,
            bid_age=None if self._bid_at is None else time.monotonic() - self._bid_at,
        )
        if found is None:
            is_for_peer = self._registry.is_for_peer
            return replace(known, home=None if is_for_peer else self._cluster.placement.home(self._hex, self._refused))
        return replace(
            known,
            epoch_age=found.epoch_age,
            lease=found.lease,
            holder=found.holder,
            note=found.note,
            best=found.best,
            pieces=self._pieces,
            deputy=self._deputy,
            way=self._way(found),
        )

    def _give_up_ways(self, found: LookedUp) -> None:
        """Where the third node brought nothing, take who is behind it for gone: the direct way costs seconds again."""
        way = self._way(found)
        if way is None or not (way.node in self._refused or self._signs.get(way.node, Signs()).was_silent):
            return
        self._refused.add(way.node)
        if found.lease:
            self._dead.add(found.lease.id)
        elif found.holder:
            self._refused.add(found.holder.node)

    def _way(self, found: LookedUp) -> Holder | None:
        """Return the third node by which we reach who leads or has the blob; None for no need of it."""
        there = found.lease or found.holder
        return None if there is None or self._registry.is_for_peer else self._cluster.reach.known_way(there.node)

    def _go_alone(self, *, claims: bool) -> None:
        metrics.count_lease("away")
        if claims:
            self._led = self._cluster.keeper.lead(self._digest, self._new_lease())

    def _take(self, found: LookedUp | None) -> bool:
        lease = self._new_lease()
        try:
            if not self._cluster.leases.take(self._digest, found.raw if found else b"", lease):
                return False
        except RedisAway:
            # The next look says so.
            return False
        if self._followed:
            _log.info("going on with another node's download", digest=self._digest, node=self._followed.node)
        metrics.count_lease("taken_over" if self._followed else "taken")
        self._followed, self._bid_at = None, None
        self._led = self._cluster.keeper.lead(self._digest, lease)
        # A node that asks us for it is the second one that downloads it.
        self._wants_standby = not self._registry.is_for_peer
        return True

    def _ask_standby(self) -> None:
        """Have another node download the blob, too: it follows us, and goes on where this node dies."""
        node = self._cluster.placement.neighbour(self._hex)
        if node is None:
            return
        try:
            self._cluster.peers.open_blob(node.url, replace(self._blob, is_wanted=True), 0).close()
        except (PeerFailed, PeerRefused, PeerSilent) as error:
            _log.info("no second node brings this blob along", digest=self._digest, node=node.node, error=error)

    def _bid(self, start: int) -> None:
        self._bid_at = time.monotonic()
        if self._followed:
            try:
                self._cluster.leases.bid(self._digest, self._followed.id, start)
            except RedisAway:
                return

    def _follow(self, leader: Follow, start: int) -> RangeResponse | None:
        """Return the stream from a peer; None where there is none, which the next look takes into account."""
        signs = self._signs.setdefault(leader.lease.id if leader.lease else leader.node, Signs())
        is_begun = any(each is not None and each.node == leader.node for each in (self._pieces, self._deputy))
        self._pieces = self._deputy = None
        if leader.lease:
            self._followed, self._bid_at = leader.lease, None
        try:
            wanted = replace(self._blob, is_wanted=leader.fetches)
            body = self._cluster.peers.open_blob(leader.url, wanted, start)
        except PeerFailed as failed:
            signs.failed_connections += 1
            self._cluster.placement.rest(leader.url)
            if isinstance(failed, PeerUnreachable) and self._finds_way(leader, signs):
                return None
        except PeerSilent:
            signs.was_silent = True
            self._cluster.placement.rest(leader.url)
            # Who was asked to get it for all leads by now, though its registry may be slow.
            if leader.lease is None and not is_begun:
                self._refused.add(leader.node)
            return None
        except PeerRefused as refused:
            if not refused.is_absent:
                self._refused.add(leader.node)
                return None
            signs.denied += 1
        else:
            signs.failed_connections = signs.denied = 0
            signs.was_silent = False
            metrics.count_lease("followed")
            self.is_near, self._brought_by = True, leader.node
            patience = _DETOUR_SECONDS if leader.is_detour else SILENCE_SECONDS
            return NearBody(self._cluster.keeper, self._digest, body, leader.lease, signs, patience)
        if leader.lease is None:
            self._refused.add(leader.node)
        time.sleep(_RETRY_SECONDS)
        return None

    def _finds_way(self, leader: Follow, signs: Signs) -> bool:
        """Look for a third node that reaches who did not answer us; return whether there is one."""
        if leader.fetches or self._registry.is_for_peer:
            return False
        try:
            signs.is_cut_off = self._cluster.reach.find_way(leader.node) is None
        except NobodyKnows:
            return False
        return not signs.is_cut_off

    # The lease.

    def _new_lease(self) -> Lease:
        return self._cluster.leases.new(self._blob.upstream, self._blob.repository)

    def _note(self, error: RegistryError) -> LeaderNote:
        return LeaderNote(error, upstream=self._blob.upstream, repository=self._blob.repository)

    def _stop_leading(self) -> None:
        if self._led is not None:
            self._cluster.keeper.leave(self._led)
            self._led = None

    def _end(self, *, is_committed: bool = False, note: LeaderNote | None = None) -> None:
        led = self._led
        if led is not None and led.is_lost:
            self._cluster.reach.doubt()
        self._stop_leading()
        lease = led.lease if led and not led.is_lost else None
        # Who cannot be reached tells nobody to come.
        is_committed = is_committed and self._cluster.reach.is_reached
        if lease is None and not is_committed:
            return
        try:
            ours = lease or self._new_lease()
            was_ours = self._cluster.leases.release(self._digest, ours, is_committed=is_committed, note=note)
            if lease and not was_ours:
                self._cluster.reach.doubt()
        except RedisAway:
            # The lease runs out by itself.
            return
