"""Where a node's next request for a blob goes: to a peer, or to the registry, for which it takes the cluster's lease.

Pure. The lease saves work and guards no bytes: where a decision is wrong, a blob is transferred twice. So nobody waits
here without an end, and what cannot be decided is decided for asking the registry.

    finds                                      does
    Redis away, and a node that all ask then   Follow, and that node asks the registry; refused or silent: the next
    Redis away otherwise                       AskAlone: the lease is put back when Redis is
    a lease of ours                            Take: the disk's lock says that no worker of this node leads
    a lease of another upstream's pull         AskAlone: its bytes are not proven for ours
    a lease of a node that refused us          AskAlone
    a lease of ours that took our place        AskAlone: two nodes have one name, and would take turns
    a lease of a peer, not known dead          Follow; where we do not reach it and a third node does: that one, which
                                               then follows the leader
    a leader that took our place, and is dead  AskAlone: perhaps neither reaches the other, and both would take turns
    a dead leader, or none after one was       its note, if it left one: Adopt its error, or StartOver; else
        followed                               Bid, wait BID_SECONDS; the one with most bytes takes the lease
    no lease, and a peer that has the blob     Follow, as a leader
    … or pieces of it, and nothing is here     Follow, and that node asks the registry for the rest
    nothing, and other nodes do not reach us   Follow another one, that asks the registry: it could follow us no more
                                               than others can
    nothing                                    Take

    Before a lease is taken where Redis was emptied less than EPOCH_SECONDS ago: Wait, leaders put theirs back first.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import TypeAlias

from registry_cache.errors import RegistryError

# How long a lease lasts without its leader, and how often a leader, and who follows one, looks at it.
LEASE_SECONDS = 6.0
LOOK_SECONDS = 1.0
# A lease with less time left has not been renewed twice: together with silence that tells a dead leader.
OVERDUE_SECONDS = 3.5

# How long bids are collected, and how much longer those wait that have not won: the winner may have died meanwhile.
BID_SECONDS = 0.15
WINNER_SECONDS = 0.3

# How long nobody takes a lease after Redis was emptied: leaders look within LOOK_SECONDS.
EPOCH_SECONDS = 3.0

# Connections to a leader that fail in a row before it is taken for dead although its lease has not run out.
MAX_FAILED_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Lease:
    """``node``, at ``url``, asks the registry for a repository of ``upstream``; no other lease has its ``id``."""

    node: str
    url: str
    id: str
    upstream: str
    repository: str
    left: float = field(default=LEASE_SECONDS, compare=False)
    """Seconds until it runs out; a live leader renews it long before."""

    @property
    def is_overdue(self) -> bool:
        return self.left < OVERDUE_SECONDS


@dataclass(frozen=True, slots=True)
class Holder:
    """``node``, at ``url``, has the whole blob."""

    node: str
    url: str


@dataclass(frozen=True, slots=True)
class LeaderNote:
    """What a leader said of a lease when it failed: an ``error``, or that its bytes so far were wrong.

    The error is that of the upstream and repository that it asked for; ``successor``: the id under which it began anew.
    """

    error: RegistryError | None = None
    wrong_bytes: bool = False
    successor: str = ""
    upstream: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a node knows of a blob's download in the cluster, ``size`` bytes of which it has.

    ``followed``: the id of the lease that it followed last, "" for none; ``note``: what that leader left. ``dead``: ids
    of leases whose leaders were found dead. ``refused``: nodes that gave us nothing and will not. ``displaced``:
    another took the lease from us. ``home``: whom all ask for this blob while Redis is away, None for us. ``pieces``:
    another node that has fetched ranges of it, and was not asked for the whole yet. ``deputy``: another node that can
    get it for all, where others do not reach us; None where they do. ``way``: a third node that reaches who leads or
    has the blob, where we do not. ``bid_age``: seconds since it bid for the place of ``followed``, None for not yet.
    ``best``: the node with the highest bid.
    """

    me: str
    upstream: str
    repository: str
    size: int
    is_away: bool = False
    epoch_age: float = EPOCH_SECONDS
    lease: Lease | None = None
    holder: Holder | None = None
    followed: str = ""
    note: LeaderNote | None = None
    dead: Set[str] = frozenset()
    refused: Set[str] = frozenset()
    displaced: bool = False
    home: Holder | None = None
    pieces: Holder | None = None
    deputy: Holder | None = None
    way: Holder | None = None
    bid_age: float | None = None
    best: str | None = None


@dataclass(frozen=True, slots=True)
class AskAlone:
    """Ask the registry without a lease; ``claims``: the lease is ours as soon as it can be written."""

    claims: bool


@dataclass(frozen=True, slots=True)
class Take:
    """Take the lease, if it is still what was seen."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Ask ``node`` at ``url``; ``lease``: its lease, None where it has the whole. ``fetches``: it is to get it.

    ``is_detour``: because ways between nodes are closed. It may have asked us for the same: silence is not waited for
    long.
    """

    node: str
    url: str
    lease: Lease | None
    fetches: bool = False
    is_detour: bool = False


@dataclass(frozen=True, slots=True)
class Bid:
    """Say how many bytes are here, for the place of the leader that was followed."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Adopt:
    """End with the error that the leader ended with."""

    error: RegistryError


@dataclass(frozen=True, slots=True)
class StartOver:
    """Drop what is here, for it was wrong, and look again: at what the leader says under the id ``successor``."""

    successor: str


Action: TypeAlias = AskAlone | Take | Follow | Bid | Wait | Adopt | StartOver


def decide(situation: Situation) -> Action:
    """Return what to do next."""
    if situation.is_away:
        home = situation.home
        if home and home.node not in situation.refused:
            return Follow(home.node, home.url, None, fetches=True)
        return AskAlone(claims=True)
    lease = situation.lease
    if situation.note and (left := _left_behind(situation, situation.note)):
        return left
    if lease and lease.id not in situation.dead and lease.node != situation.me:
        return _about_a_leader(situation, lease)
    if lease and situation.displaced:
        return AskAlone(claims=False)
    if lease and lease.node == situation.me:
        return Take()
    return _without_a_leader(situation)


def _left_behind(situation: Situation, note: LeaderNote) -> Action | None:
    """Return what to do after what the leader that we followed left behind; None where that says nothing."""
    # Even if we have no byte of these: where the leader has ended, its note under its next id tells how.
    if note.wrong_bytes and (situation.size or (note.successor and situation.lease is None)):
        return StartOver(note.successor)
    is_ours = (note.upstream, note.repository) == (situation.upstream, situation.repository)
    has_successor = situation.lease is not None and situation.lease.id != situation.followed
    return Adopt(note.error) if note.error and is_ours and not has_successor else None


def _about_a_leader(situation: Situation, lease: Lease) -> Action:
    if lease.upstream != situation.upstream or lease.node in situation.refused:
        return AskAlone(claims=False)
    return _by_way(situation) or Follow(lease.node, lease.url, lease)


def _by_way(situation: Situation) -> Follow | None:
    """Return the question to a third node for what we do not reach; None where there is no such way."""
    way = situation.way
    if way is None or way.node in situation.refused:
        return None
    return Follow(way.node, way.url, None, fetches=True, is_detour=True)


def _without_a_leader(situation: Situation) -> Action:
    if situation.followed:
        turn = _turn(situation)
        if turn:
            return turn
    holder = situation.holder
    if holder and holder.node != situation.me and holder.node not in situation.refused:
        return _by_way(situation) or Follow(holder.node, holder.url, None)
    return _for_the_registry(situation)


def _for_the_registry(situation: Situation) -> Action:
    """Return who asks the registry: another node for us, or we do."""
    for other in (situation.pieces, situation.deputy):
        # What is here already would be sent again.
        if other and not situation.size and other.node not in situation.refused:
            is_detour = other is situation.deputy
            return Follow(other.node, other.url, None, fetches=True, is_detour=is_detour)
    if situation.epoch_age < EPOCH_SECONDS:
        return Wait(EPOCH_SECONDS - max(0.0, situation.epoch_age))
    return Take()


def _turn(situation: Situation) -> Action | None:
    """Return what comes before we take a leader's place; None where it is our turn, or nobody else takes it."""
    if situation.holder and situation.lease is None and situation.holder.node not in situation.refused:
        # It has committed: there is no place to take.
        return None
    if situation.bid_age is None:
        return Bid()
    if situation.bid_age < BID_SECONDS:
        return Wait(BID_SECONDS - situation.bid_age)
    if situation.best not in (situation.me, None) and situation.bid_age < BID_SECONDS + WINNER_SECONDS:
        return Wait(BID_SECONDS + WINNER_SECONDS - situation.bid_age)
    return None


@dataclass(slots=True)
class Signs:
    """What the connections to one leader have shown: whether it is dead."""

    failed_connections: int = 0
    was_silent: bool = False
    denied: int = 0
    is_cut_off: bool = False
    """No way leads there, not even for a third node that was asked."""

    def is_dead(self, lease: Lease) -> bool:
        """Whether the leader of ``lease``, as it was read after these signs, is to be taken for dead.

        Silence alone is none: a registry may be slow, and its leader then renews the lease.
        """
        if self.is_cut_off or max(self.failed_connections, self.denied) >= MAX_FAILED_CONNECTIONS:
            return True
        return (self.was_silent or self.failed_connections > 0) and lease.is_overdue
