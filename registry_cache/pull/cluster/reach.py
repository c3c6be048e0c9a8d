"""Which ways between nodes are closed: a third node that reaches one which we do not, and whether others reach us.

A firewall may let nodes reach Redis and the registry, and not each other, or in one direction alone. What is found out
here saves transfers: wrong, it costs one.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from registry_cache.cluster.membership import ClusterNode, Membership
from registry_cache.policy.leader_election import Holder
from registry_cache.pull.cluster.placement import Placement
from registry_cache.runtime.log import Log
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, PeerSilent

# A third node is taken to reach another one for so long. Then a pull tries the direct way, which costs it seconds.
WAY_SECONDS = 60.0
# So often a worker asks whether others reach its node: every minute.
_BEATS_A_LOOK = 12

_log = Log(__name__)


class NobodyKnows(Exception):
    """There is no third node, or it does not answer either."""


@dataclass(eq=False)
class NearReach:
    """The ways of the node called ``node``, as one of its workers knows them.

    ``is_reached``: others reach it, or none said that it does not.
    """

    node: str
    peers: Peers
    membership: Membership
    placement: Placement
    clock: Callable[[], float] = time.monotonic
    is_reached: bool = field(default=True, init=False)
    _ways: dict[str, tuple[Holder, float]] = field(default_factory=dict, init=False)
    _mutex: threading.Lock = field(default_factory=threading.Lock, init=False)
    _beats_left: int = field(default=1, init=False)

    def known_way(self, name: str) -> Holder | None:
        """Return a third node that reached the node called ``name`` a while ago, when we did not; asks nobody."""
        with self._mutex:
            way, until = self._ways.get(name, (None, 0.0))
        return way if self.clock() < until else None

    def find_way(self, name: str) -> Holder | None:
        """Ask a third node whether it reaches the node called ``name``; return it if it does. Raises NobodyKnows."""
        third = self._another(name)
        trouble = self._trouble(third, name) if third else None
        if third is None or trouble is None:
            raise NobodyKnows
        if trouble:
            return None
        way = Holder(third.name, third.url)
        with self._mutex:
            self._ways[name] = way, self.clock() + WAY_SECONDS
        _log.info("fetching by way of another node what this one does not reach", node=name, way=way.node)
        return way

    def deputy(self, hex: str) -> Holder | None:
        """Return who is to ask the registry for a blob as nobody could follow us; None while others reach us."""
        return None if self.is_reached else self.placement.neighbour(hex)

    def doubt(self) -> None:
        """Find out soon whether others reach us: one has taken the lease of a download that went well."""
        self._beats_left = 1

    def beat(self) -> None:
        """Find out in the minute's last beat, or where there are doubts, whether others reach us."""
        self._beats_left -= 1
        if self._beats_left > 0:
            return
        other = self._another()
        # Where all nodes start at once, the others are not known yet.
        self._beats_left = _BEATS_A_LOOK if other else 1
        trouble = self._trouble(other, self.node) if other else None
        if trouble is None or bool(trouble) != self.is_reached:
            # It cannot say, or there is nothing new.
            return
        self.is_reached = not trouble
        if trouble and other:
            _log.warning(
                "other nodes do not reach this one: allow them access to its cluster.addr", by=other.name, error=trouble
            )
        else:
            _log.info("other nodes reach this one again")

    def _another(self, name: str = "") -> ClusterNode | None:
        """Return any other node but the one called ``name``."""
        found = [node for node in self.membership.known() if node.name != name]
        awake = [node for node in found if not self.placement.is_resting(node.url)]
        return random.choice(awake) if awake else None  # noqa: S311 — chosen to spread work, not to be secret

    def _trouble(self, other: ClusterNode, name: str) -> str | None:
        """Return why ``other`` does not reach the node called ``name``, "" where it does; None where it cannot say."""
        try:
            return self.peers.reaches(other.url, name)
        except (PeerFailed, PeerRefused, PeerSilent):
            self.placement.rest(other.url)
            return None
