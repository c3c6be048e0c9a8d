"""A model of nodes that download one blob by what `policy.leading` decides: their leases, their clock, their faults.

Nothing here waits: time is a number that each step moves on.
"""

from dataclasses import dataclass, field, replace

from registry_cache.policy import leader_election
from registry_cache.policy.leader_election import (
    EPOCH_SECONDS,
    LEASE_SECONDS,
    LOOK_SECONDS,
    Holder,
    Lease,
    Signs,
    Situation,
)
from registry_cache.policy.rendezvous_hash import rank

WHOLE = 30
STEP_SECONDS = 0.1


@dataclass
class SharedMemory:
    """Redis as the nodes see it."""

    is_away: bool = False
    lease: Lease | None = None
    ends: float = 0.0
    holder: Holder | None = None
    pieces: Holder | None = None
    bids: dict[str, dict[str, int]] = field(default_factory=dict)
    emptied_at: float = -EPOCH_SECONDS

    def current(self, now: float) -> Lease | None:
        if self.lease is None or now >= self.ends:
            return None
        return replace(self.lease, left=self.ends - now)

    def empty(self, now: float) -> None:
        self.lease = self.holder = self.pieces = None
        self.bids.clear()
        self.emptied_at = now


@dataclass
class ModelNode:
    name: str
    size: int = 0
    is_alive: bool = True
    is_paused: bool = False
    is_leading: bool = False
    lease: Lease | None = None
    renewed_at: float = 0.0
    following: str = ""
    followed: str = ""
    bid_at: float | None = None
    signs: dict[str, Signs] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    displaced: bool = False
    has_asked: bool = False
    ways: dict[str, str] = field(default_factory=dict)
    deputy: str = ""
    waits_until: float = 0.0

    @property
    def is_done(self) -> bool:
        return self.size == WHOLE

    @property
    def answers(self) -> bool:
        return self.is_alive and not self.is_paused


class LeaseModel:
    """Some nodes that all want one blob. `sent`: how many bytes the registry has sent.

    `closed`: pairs of nodes of which the first does not reach the second.
    """

    def __init__(self, nodes: int) -> None:
        self.now = 100.0
        self.redis = SharedMemory()
        self.nodes = [ModelNode(f"node{number}") for number in range(nodes)]
        self.sent = 0
        self.closed: set[tuple[str, str]] = set()
        self._ids = 0

    def leaders(self) -> list[ModelNode]:
        return [node for node in self.nodes if node.answers and node.is_leading and not node.is_done]

    def step(self, node: ModelNode) -> None:
        """Let one node do one thing."""
        self.now += STEP_SECONDS
        if not node.answers or node.is_done or self.now < node.waits_until:
            return
        if node.is_leading:
            self._lead(node)
        else:
            self._search(node)

    def _lead(self, node: ModelNode) -> None:
        if self.now - node.renewed_at >= LOOK_SECONDS and node.lease and not self.redis.is_away:
            there = self.redis.current(self.now)
            if there is not None and there.id != node.lease.id:
                node.is_leading, node.lease, node.displaced = False, None, True
                return
            self.redis.lease, self.redis.ends, node.renewed_at = node.lease, self.now + LEASE_SECONDS, self.now
        node.size += 1
        self.sent += 1
        if node.is_done:
            self._commit(node)

    def _commit(self, node: ModelNode) -> None:
        node.is_leading = False
        if self.redis.is_away:
            return
        self.redis.holder = Holder(node.name, node.name)
        there = self.redis.current(self.now)
        if there and node.lease and there.id == node.lease.id:
            self.redis.lease = None

    def _search(self, node: ModelNode) -> None:
        action = leader_election.decide(self._situation(node))
        match action:
            case leader_election.AskAlone():
                node.is_leading = True
                node.lease = self._new_lease(node) if action.claims else None
                node.renewed_at = self.now
            case leader_election.Take():
                self._take(node)
            case leader_election.Follow():
                self._follow(node, action)
            case leader_election.Bid():
                node.bid_at = self.now
                self.redis.bids.setdefault(node.followed, {})[node.name] = node.size
            case leader_election.Wait():
                node.waits_until = self.now + action.seconds
            case _:
                raise AssertionError(f"{action} without a note")

    def _situation(self, node: ModelNode) -> Situation:
        lease = None if self.redis.is_away else self.redis.current(self.now)
        if lease and lease.id in node.signs and node.signs[lease.id].is_dead(lease):
            node.dead.add(lease.id)
        if lease and lease.id != node.followed:
            node.bid_at = None
        bids = self.redis.bids.get(node.followed, {})
        return Situation(
            me=node.name,
            upstream="",
            repository="",
            size=node.size,
            is_away=self.redis.is_away,
            epoch_age=self.now - self.redis.emptied_at,
            lease=lease,
            holder=None if self.redis.is_away else self.redis.holder,
            followed=node.followed,
            dead=node.dead,
            refused=node.refused,
            displaced=node.displaced,
            home=self._home(node),
            pieces=self._pieces(node),
            deputy=Holder(node.deputy, node.deputy) if node.deputy else None,
            way=self._way(node, lease),
            bid_age=None if node.bid_at is None else self.now - node.bid_at,
            best=max(bids, key=lambda name: bids[name], default=None),
        )

    def _way(self, node: ModelNode, lease: Lease | None) -> Holder | None:
        there = lease or self.redis.holder
        way = node.ways.get(there.node, "") if there else ""
        if lease and way in node.refused:
            node.dead.add(lease.id)
        elif there and way in node.refused:
            node.refused.add(there.node)
        return Holder(way, way) if way else None

    def _pieces(self, node: ModelNode) -> Holder | None:
        found = self.redis.pieces
        return None if self.redis.is_away or node.has_asked or (found and found.node == node.name) else found

    def _home(self, node: ModelNode) -> Holder | None:
        home, *_ = [*rank("a blob", [each.name for each in self.nodes if each.name not in node.refused]), node.name]
        return None if home == node.name else Holder(home, home)

    def _take(self, node: ModelNode) -> None:
        # A compare-and-set right after the look: nothing comes between in one step.
        lease = self._new_lease(node)
        self.redis.lease, self.redis.ends = lease, self.now + LEASE_SECONDS
        node.lease, node.is_leading, node.renewed_at = lease, True, self.now
        node.followed, node.bid_at = "", None

    def _follow(self, node: ModelNode, action: leader_election.Follow) -> None:
        peer = next(each for each in self.nodes if each.name == action.node)
        key = action.lease.id if action.lease else action.node
        signs = node.signs.setdefault(key, Signs())
        if action.lease:
            node.followed, node.bid_at = action.lease.id, None
        node.has_asked, node.deputy = node.has_asked or action.fetches, ""
        if (node.name, peer.name) in self.closed:
            self._find_way(node, peer, action, signs)
            return
        if action.fetches and peer.answers and not peer.is_done and not peer.is_leading:
            if self.redis.is_away:
                # Asked by us, it asks nobody else.
                peer.is_leading, peer.lease, peer.renewed_at = True, self._new_lease(peer), self.now
            else:
                self._search(peer)
        is_silent_again = action.is_detour and signs.was_silent
        if peer.answers and (peer.is_done or ((peer.is_leading or action.is_detour) and peer.size > node.size)):
            node.size = peer.size if peer.is_done else max(node.size, peer.size - 1)
            signs.failed_connections = signs.denied = 0
            signs.was_silent = False
        elif peer.is_paused or (peer.is_alive and (peer.is_leading or action.is_detour)):
            # Stopped, or with nothing new: its registry is slow.
            signs.was_silent = True
            node.waits_until = self.now + 2.0
        elif not peer.is_alive:
            signs.failed_connections += 1
        elif not peer.is_leading:
            signs.denied += 1
        brings = peer.is_done or (action.fetches and not is_silent_again)
        if action.lease is None and not (peer.answers and brings):
            node.refused.add(action.node)

    def _find_way(self, node: ModelNode, peer: ModelNode, action: leader_election.Follow, signs: Signs) -> None:
        """No answer comes from `peer`: ask a third node, if there is one and it is no detour already."""
        signs.failed_connections += 1
        node.waits_until = self.now + 2.0
        thirds = [each for each in self.nodes if each.answers and each.name not in (node.name, peer.name)]
        third = next((each for each in thirds if (node.name, each.name) not in self.closed), None)
        is_way = third is not None and peer.answers and (third.name, peer.name) not in self.closed
        if third and is_way and not action.fetches:
            node.ways[peer.name] = third.name
        elif action.lease is None:
            node.refused.add(action.node)
        elif third and not action.fetches:
            signs.is_cut_off = True

    def _new_lease(self, node: ModelNode) -> Lease:
        self._ids += 1
        return Lease(node.name, node.name, f"id{self._ids}", "", "")
