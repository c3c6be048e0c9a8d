"""Questions while Redis is away: asked of the node that all others ask as well, and which asks the registry.

That node asks no other in turn: what it asks for others is a flight of its own, inside of which nothing waits for a
node. So nodes that disagree whose question it is send nobody round in a circle; they ask the registry twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from registry_cache.pull.cluster.placement import Placement
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.upstream.peer import PeerFailed, PeerRefused, Peers, PeerSilent

_T = TypeVar("_T")

_log = Log(__name__)


class PlacedQuestions:
    """The questions of one node; ``flights`` are those of its workers."""

    def __init__(self, placement: Placement, peers: Peers, flights: MachineFlights) -> None:
        self._placement = placement
        self._peers = peers
        self._flights = flights

    def ask(self, question: SharedQuestion) -> dict[str, Any] | None:
        """Return the outcome that the question's node has; None where that is us, or it does not answer in time."""
        home = self._placement.home(question.place)
        if home is None:
            return None
        try:
            with request_context.waiting():
                return self._peers.ask(home.url, question)
        except PeerRefused as refusal:
            _log.debug("another node does not answer a question", question=str(question), node=home.node, error=refusal)
        except (PeerFailed, PeerSilent) as failure:
            _log.info(
                "asking the registry; another node is silent", question=str(question), node=home.node, error=failure
            )
            self._placement.rest(home.url)
        return None

    def here(self, question: SharedQuestion, work: Callable[[], _T], note: NoteFormat[_T]) -> _T:
        """Return what ``work`` returns, once for our own clients and for the nodes that ask us at this moment."""
        return self._flights.run(f"for all nodes: {question}", work, note)
