"""The other nodes of a cluster, as a pull knows them: who they are, what they lead, and how they are asked."""

from __future__ import annotations

from dataclasses import dataclass

from registry_cache.cluster.keeper import LeaseKeeper
from registry_cache.cluster.leases import Leases
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import Questions
from registry_cache.pull.cluster.pieces import NearPieces
from registry_cache.pull.cluster.placement import Placement
from registry_cache.pull.cluster.reach import NearReach
from registry_cache.upstream.peer import Peers


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a node shares its downloads with.

    ``standby_size``: blobs from this size on are downloaded by a second node as well; 0: none.
    """

    leases: Leases
    keeper: LeaseKeeper
    peers: Peers
    membership: Membership
    questions: Questions
    limits: Notes
    tags: Notes
    pieces: NearPieces
    placement: Placement
    reach: NearReach
    standby_size: int = 0
