"""Accept connections: how many in a turn of the loop, and which of them are served first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer

from registry_cache.server import side_listeners

# Connections that a turn of the loop accepts at most: few enough that the other workers get their share of a crowd.
_ACCEPTED_A_TURN = 32

# Of those who wait for their turn one goes on in each turn of the loop, and this part of the others.
_QUEUE_SHARE = 16

# libev's highest priority: what waits for an idle moment with it waits for the next turn, whatever sockets are ready. A
# turn in which a thread reports to the loop does not count.
_NEXT_TURN_PRIORITY = 2


class TurnQueue:
    """Lets few greenlets go on in a turn of the loop, so that what comes in between is served first."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._is_turning = False

    def wait(self) -> None:
        """Return at once where nobody has gone on in this turn, otherwise behind those who came before."""
        if not self._is_turning:
            self._is_turning = True
            gevent.spawn_raw(self._run)
            return
        mine = Event()
        self._waiting.append(mine)
        mine.wait()

    def _run(self) -> None:
        gevent.idle(_NEXT_TURN_PRIORITY)
        while self._waiting:
            for _ in range(1 + (len(self._waiting) - 1) // _QUEUE_SHARE):
                self._waiting.popleft().set()
            gevent.idle(_NEXT_TURN_PRIORITY)
        self._is_turning = False


class Listener(socket.socket):
    """A listening socket that knows its address, and whether it is a side listener, when it is closed, too.

    What it accepted before a stop may send its first bytes after that.
    """

    def __init__(self, accepting: socket.socket) -> None:
        """Take over the descriptor of ``accepting``."""
        super().__init__(accepting.family, accepting.type, accepting.proto, fileno=accepting.detach())
        self._address = super().getsockname()
        self.debug = side_listeners.DEBUG.owns(self)
        self.peers = side_listeners.PEERS.owns(self)

    def getsockname(self) -> Any:
        return self._address


class PromptPool(Pool):
    """Begins to serve a connection at once, where the loop would do it behind all that is ready to run.

    That may be hundreds of streams of which the next bytes have just come. Called by the loop.
    """

    def spawn(self, *args: Any, **kwargs: Any) -> gevent.Greenlet:
        greenlet = super().spawn(*args, **kwargs)
        greenlet.switch()
        return greenlet


class Acceptor(StreamServer):
    """Accepts a crowd as fast as it comes: in a turn of the loop as many as it has already, and one more.

    gunicorn lets several workers accept one a turn each; beside hundreds of streams a turn takes milliseconds, and the
    thousandth client would wait for seconds, with every ping behind it. If it were always many, the worker that wakes
    first would take all of a small crowd, and the other cores would have nothing to do.
    """

    def __init__(self, listener: Listener, connections: int, handle: Callable[[Any, Any], None]) -> None:
        """Serve each client by ``handle``, at most so many ``connections`` at once."""
        self._connections = PromptPool(connections)
        super().__init__(listener, handle, spawn=self._connections)

    @property
    def max_accept(self) -> int:
        """How many gevent accepts in this turn; it asks when somebody waits."""
        return min(1 + len(self._connections), _ACCEPTED_A_TURN)
