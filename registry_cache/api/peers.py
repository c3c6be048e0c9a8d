"""What other nodes of the cluster may ask, on the port that is theirs: what is here, answers of the registry, a ping.

A request is believed because it is signed with the cluster's secret and came by ``cluster.addr``; no header makes it a
peer's on another port. It needs no login. It changes nothing, with one exception: a node that does not see Redis may
have us download a blob, or ask the registry what it would have to ask, as any client may.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flask import Blueprint, Flask, Request, Response, request

from registry_cache.api.access_log import current, route
from registry_cache.api.health import NO_SUCH_URL
from registry_cache.api.responses import json_response
from registry_cache.errors import Denied, LoopFound, NameUnknown
from registry_cache.pull.cluster.peer_answers import PeerAnswers
from registry_cache.pull.routing import Upstreams
from registry_cache.runtime.connection import connection_of
from registry_cache.runtime.peer_question import ANSWERS, answer_name
from registry_cache.runtime.seals import HEADER, AskedOfPeer, Seals

_SERVED = ("blobs.blob", "manifests.manifest", "listings.version", "peers.reach", "peers.answer")


@dataclass(frozen=True, slots=True)
class PeerGate:
    """Lets requests of other nodes in. ``node`` is ours; ``reach`` says why we do not reach another, "" where we do.

    ``clock``: in seconds since the epoch.
    """

    seals: Seals
    node: str
    reach: Callable[[str], str] = lambda name: "it cannot tell"
    clock: Callable[[], float] = time.time

    def admit(self, header: str | None, asked: AskedOfPeer) -> str:
        """Return the name of the node that asks. Raises Denied, LoopFound."""
        proven = self.seals.verify(header or "", asked, self.clock())
        if proven is None:
            raise Denied("this port is for the nodes of a cluster: the request is not signed with its http.secret")
        # A node asks another one on its own behalf alone: a loop is of one node.
        if proven.node == self.node:
            raise LoopFound(f"this request comes from {self.node}, which is this node: each needs a name of its own")
        return proven.node


def register(app: Flask, gate: PeerGate | None) -> None:
    """Let ``cluster.addr`` serve other nodes and nobody else. Call it after ``hooks.register``, before logins."""
    if gate is None:
        # There is no such address either, and a hit should not pay for it.
        return

    @app.before_request
    def admit() -> None:
        if not by_peer(request):
            return
        target = request.environ.get("RAW_URI", "")
        asked = AskedOfPeer(request.method, target, request.headers.get("Range", ""))
        current().peer = gate.admit(request.headers.get(HEADER), asked)
        if request.endpoint not in _SERVED:
            raise NameUnknown("other nodes ask here for blobs and manifests alone")


def blueprint(gate: PeerGate | None, upstreams: Upstreams, answers: PeerAnswers) -> Blueprint:
    """Return the routes by which a node is asked whether it reaches another, and what others would ask the registry."""
    routes = Blueprint("peers", __name__)

    @routes.get("/cluster/reach/<name>")
    def reach(name: str) -> Response:
        if gate is None or not by_peer(request):
            raise NameUnknown(NO_SUCH_URL)
        return json_response({"trouble": gate.reach(name)})

    @routes.get(f"{ANSWERS}<kind>/<path:name>/<reference>")
    def answer(kind: str, name: str, reference: str) -> Response:
        if gate is None or not by_peer(request):
            raise NameUnknown(NO_SUCH_URL)
        outcome = answers.answer(kind, route(upstreams, name, reference).target, reference)
        # Unlike bytes, nothing shows that an answer is right: it is sealed for this one request.
        sealed = gate.seals.seal(answer_name(request.environ.get("RAW_URI", "")), outcome)
        return Response(sealed, content_type="application/octet-stream")

    return routes


def by_peer(request: Request) -> bool:
    """Return whether the request came by ``cluster.addr``."""
    return connection_of(request.environ).by_peer_address
