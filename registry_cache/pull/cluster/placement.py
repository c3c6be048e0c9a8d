"""Whom to ask for a blob that no node has: the node that all others ask as well, and which asks the registry.

Known are the nodes that were there when Redis last answered, and those that the configuration names. Nodes that know
different ones ask different ones, and a blob is then transferred more than once: nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field

from registry_cache.cluster.membership import Membership
from registry_cache.policy.leader_election import Holder
from registry_cache.policy.rendezvous_hash import rank

# A node that did not answer is asked for no blob for so long: each pull would wait for it anew.
REST_SECONDS = 10.0
# So many nodes are tried for one blob: each may take two seconds to be found silent.
_MOST_TRIED = 2


@dataclass(eq=False)
class Placement:
    """The places of blobs as the node at ``url`` sees them; ``peers``: URLs that the configuration names."""

    url: str
    membership: Membership
    peers: Sequence[str] = ()
    clock: Callable[[], float] = time.monotonic
    _resting: dict[str, float] = field(default_factory=dict, init=False)

    def home(self, hex: str, tried: Set[str] = frozenset(), *, knows_redis: bool = False) -> Holder | None:
        """Return the node to ask for the blob with this digest; None where that is us. ``tried``: nodes that failed.

        ``knows_redis``: Redis is here, so it knows all nodes, and of ``peers`` it does not know nobody is there.
        """
        if len(tried) >= _MOST_TRIED:
            return None
        named = {} if knows_redis else {url: url for url in self.peers}
        names = named | {node.url: node.name for node in self.membership.known()}
        for url in rank(hex, {*names, self.url}):
            if url == self.url:
                return None
            if names[url] not in tried and not self.is_resting(url):
                return Holder(names[url], url)
        return None

    def neighbour(self, hex: str) -> Holder | None:
        """Return the first other node for the blob with this digest that Redis knew of late; None for nobody."""
        names = {node.url: node.name for node in self.membership.known()}
        return next((Holder(names[url], url) for url in rank(hex, names) if not self.is_resting(url)), None)

    def is_resting(self, url: str) -> bool:
        """Tell whether this node did not answer a moment ago."""
        return self.clock() < self._resting.get(url, 0.0)

    def rest(self, url: str) -> None:
        """Ask this node for nothing for a while: it did not answer."""
        self._resting[url] = self.clock() + REST_SECONDS
