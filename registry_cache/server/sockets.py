"""A client's connection: how files leave by it, how long it may read nothing, and how a crowd of them takes turns."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import termios
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from typing import IO, Any

import gevent
import gevent.ssl
from gevent import socket
from gevent.event import Event

from registry_cache.runtime.connection import Connection
from registry_cache.runtime.log import Log

_log = Log(__name__)

# Bytes a call of sendfile takes at most, after which others have their turn.
_SEND_BLOCK = 2 * 1024 * 1024

# As many of them as the kernel hands to a connection in one go.
_AT_ONCE = 64 * 1024

# How many connections of a worker to nginx have something on the way at once, and the seconds in which it takes that
# where its client is quick. With 80 one run in four was as slow as with all thousand.
_IN_FLIGHT = 64
_SOON = 0.1

# What sendfile says of the file that it reads, and not of the client.
_UNREADABLE = {errno.EIO, errno.ESTALE, errno.EBADMSG, errno.EUCLEAN}

# How long a client may read nothing: else a thousand that are stopped would take every reader's place, at no cost to
# themselves. As long as nginx gives its own clients.
SEND_SECONDS = 60.0
# The same for nginx on a unix socket, which waits for its own clients: longer than ``send_timeout`` in what we print
# for it, or its slow clients would be cut here.
PROXY_SECONDS = 660.0
# How often a client is looked at within the first of them. Where anything was read since, its time begins anew.
_LOOKS = 6


class Rounds:
    """Calls ``look`` after each ``pause``, as long as there is somebody among ``waiting``."""

    def __init__(self, waiting: Collection[object], pause: Callable[[], None], look: Callable[[], None]) -> None:
        self._waiting = waiting
        self._pause = pause
        self._look = look
        self._running = False

    def begin(self) -> None:
        """Somebody is about to wait."""
        if not self._running:
            self._running = True
            gevent.spawn(self._run)

    def _run(self) -> None:
        while self._waiting:
            self._pause()
            self._look()
        self._running = False


class Lookout:
    """Looks now and then at the connections that wait to send, and ends those of which nothing is read.

    One for all of them: a timer for each wait, and a look at its begin, were a tenth of what a stream costs.
    """

    def __init__(self, pause: Callable[[float], None] = gevent.sleep) -> None:
        # What was unread at the last look, None before the first, and at how many in a row it was no less.
        self._waiting: dict[Any, tuple[int | None, int]] = {}
        self._rounds = Rounds(self._waiting, lambda: pause(SEND_SECONDS / _LOOKS), self._look)

    def begin(self, connection: Any) -> None:
        """Look at ``connection``, which is about to wait, until ``stop``."""
        self._waiting[connection] = None, 0
        self._rounds.begin()

    def stop(self, connection: Any) -> None:
        """Its wait is over."""
        del self._waiting[connection]

    def _look(self) -> None:
        for connection, (before, looks) in tuple(self._waiting.items()):
            try:
                left = connection.unread()
            except (OSError, ValueError):
                # Closed meanwhile: its wait is about to end, and the others still have to be looked at.
                continue
            # A slow client frees too little of the kernel's buffer for a write, and still it reads.
            looks = looks + 1 if before is not None and left >= before else 0
            self._waiting[connection] = left, looks
            if looks == round(_LOOKS * connection.patience / SEND_SECONDS):
                connection.let_it_go(left)


_lookout = Lookout()


class InFlight:
    """Lets so many connections at once have bytes on the way that the other end has not taken; the others queue.

    For nginx, which sees to each connection that has something for it in turn. With a thousand of them a turn takes a
    sixth of a second, and a ping waits for two: until it is accepted, and until our answer is read. Whose bytes are not
    taken within ``seconds`` is a slow client: it keeps no place, and needs none until it is quick again.
    """

    def __init__(
        self,
        most: int = _IN_FLIGHT,
        seconds: float = _SOON,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._begun: set[Passage] = set()
        self._queue: dict[Passage, Event] = {}
        self._rounds = Rounds(self._queue, lambda: pause(seconds / 2), self._look)

    def passage(self) -> Passage:
        """Return what a connection enters for each of its blocks."""
        return Passage(self)

    def enter(self, passage: Passage) -> None:
        """Return when there is a place, or at once where none is needed."""
        if passage.slow:
            passage.began = self._clock()
        elif len(self._begun) < self._most:
            self._begin(passage)
        else:
            self._wait(passage)

    def leave(self, passage: Passage) -> None:
        """Its bytes are taken, or never will be."""
        passage.slow = self._late(passage)
        self._give_up(passage)

    def _begin(self, passage: Passage) -> None:
        passage.began = self._clock()
        self._begun.add(passage)

    def _wait(self, passage: Passage) -> None:
        mine = self._queue[passage] = Event()
        self._rounds.begin()
        try:
            mine.wait()
        except BaseException:
            self._queue.pop(passage, None)
            self._give_up(passage)
            raise

    def _look(self) -> None:
        """Give up the places of slow clients."""
        for passage in tuple(self._begun):
            if self._late(passage):
                self._give_up(passage)

    def _late(self, passage: Passage) -> bool:
        return self._clock() - passage.began > self._seconds

    def _give_up(self, passage: Passage) -> None:
        if passage not in self._begun:
            return
        self._begun.discard(passage)
        if self._queue:
            # Given now, to whoever has waited for longest: its own next block would come before them all.
            following = next(iter(self._queue))
            self._begin(following)
            self._queue.pop(following).set()


class Passage:
    """Entered by one connection before it sends, left when that is taken. ``began``: when, by the clock."""

    __slots__ = ("_in_flight", "began", "slow")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.began = 0.0
        self.slow = False

    def __enter__(self) -> None:
        self._in_flight.enter(self)

    def __exit__(self, *_: object) -> None:
        self._in_flight.leave(self)


class Bounded:
    """What a client's connection is besides: one that waits to send for so long at most while nothing is read."""

    __slots__ = ()

    # The client came by ``http.debug.addr``.
    debug = False
    # ``response.Response`` takes parts of files, where ``sendfile`` is the kernel's.
    sends_parts = False
    _end_reason: str | None = None
    # Others had their turn before the request that is read now: a greenlet begins behind them all.
    waited = True

    def _wait(self: Any, watcher: Any, *args: Any, **kwargs: Any) -> None:
        """Called by gevent wherever a socket would block. Raises OSError."""
        wait = super()._wait  # type: ignore[misc]
        if watcher is not self._write_event:
            self.waited = True
            wait(watcher, *args, **kwargs)
            return
        _lookout.begin(self)
        try:
            wait(watcher, *args, **kwargs)
        finally:
            _lookout.stop(self)

    def connection(self) -> Connection:
        """Return what the application may know of this connection."""
        return Connection(self.debug, self.sends_parts, lambda: self._end_reason)

    def unread(self: Any) -> int:
        """Return how many bytes of what was sent the client's machine has not confirmed."""
        return int.from_bytes(fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    @property
    def behind_nginx(self: Any) -> bool:
        """Whether it is nginx that reads, for a client of its own."""
        return bool(self.family == socket.AF_UNIX)

    @property
    def patience(self) -> float:
        """Seconds for which nothing may be read."""
        return PROXY_SECONDS if self.behind_nginx else SEND_SECONDS

    def let_it_go(self: Any, left: int) -> None:
        """End the wait by an error; ``left`` is what was not read."""
        _log.info("let a client go that reads nothing", seconds=self.patience, unread=left)
        self._end_reason = "the client reads nothing"
        # The one error that gunicorn takes for an end of the connection without a traceback.
        self.hub.cancel_wait(self._write_event, ConnectionResetError(errno.ECONNRESET, self._end_reason))


class TlsSocket(Bounded, gevent.ssl.SSLSocket):
    """A client's connection by TLS."""


class Socket(Bounded, socket.socket):
    """A client's connection whose ``sendfile`` is the kernel's."""

    # Entered for each block of a file: behind nginx, one of ``InFlight``.
    passage: Passage | nullcontext[None] = nullcontext()
    sends_parts = True

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send ``count`` bytes of ``file`` from ``offset``; return how many the disk gave. Raises OSError."""
        if (count is not None and count <= _AT_ONCE) or self.behind_nginx:
            return self._sent(file, offset, count)
        # Else all that the kernel takes at once ends in a small packet: half as many again of them, and of their work.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, True)
        try:
            return self._sent(file, offset, count)
        finally:
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, False)

    def _sent(self, file: IO[bytes], offset: int, count: int | None) -> int:
        sent = 0
        # Our own bodies log what was really sent.
        count_sent = getattr(file, "count_sent", lambda _: None)
        while count is None or sent < count:
            block = _SEND_BLOCK if count is None else min(_SEND_BLOCK, count - sent)
            with self.passage:
                try:
                    done = os.sendfile(self.fileno(), file.fileno(), offset + sent, block)
                except BlockingIOError:
                    self._wait(self._write_event)
                    continue
                except OSError as error:
                    if error.errno not in _UNREADABLE:
                        raise
                    break
                if done == 0:
                    break
                sent += done
                count_sent(done)
                if done < block:
                    # The kernel's buffer is full, which to ask again would only say; or the file ends, and it says so.
                    self._wait(self._write_event)
            if done == block:
                gevent.sleep(0)
        return sent
