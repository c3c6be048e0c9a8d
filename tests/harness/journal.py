"""The request log of a fake server: what was asked, what was sent, what is under way. Thread-safe."""

import select
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qs

WAIT_SECONDS = 40.0  # a test that waits longer for an event waits for one that will not come


@dataclass(eq=False)
class Exchange:
    """One request and what became of it. `status` is 0 until the head of the answer is sent."""

    method: str
    path: str
    raw_query: str
    headers: Message
    connection: socket.socket = field(repr=False)
    status: int = 0
    bytes_sent: int = 0  # and what is being sent now
    held: bool = False
    done: bool = False  # all is sent but the last byte, or it was cut

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.raw_query, keep_blank_values=True)

    @property
    def name(self) -> str:
        """The last part of the path: a digest, a tag, `list`, …"""
        return self.path.rsplit("/", 1)[-1]

    @property
    def alive(self) -> bool:
        """Is it under way, with a client that still listens? A killed client's transfer is over, whatever we do."""
        if self.done or (descriptor := self.connection.fileno()) < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLRDHUP)
        return not poll.poll(0)


class Journal:
    """Every exchange, in order of arrival."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self._peaks: Counter[str] = Counter()
        self._changed = threading.Condition()

    def begin(self, exchange: Exchange) -> None:
        with self._changed:
            self.exchanges.append(exchange)
            if exchange.method == "GET":
                now = self.in_flight(exchange.name)
                self._peaks[exchange.name] = max(self._peaks[exchange.name], now)
            self._changed.notify_all()

    def note(self, exchange: Exchange, *, status: int | None = None, sent: int = 0, held: bool | None = None) -> None:
        with self._changed:
            exchange.status = exchange.status if status is None else status
            exchange.held = exchange.held if held is None else held
            exchange.bytes_sent += sent
            self._changed.notify_all()

    def end(self, exchange: Exchange) -> None:
        with self._changed:
            exchange.done = True
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
        """Wait until `condition()` is true; it is asked again after every event here. AssertionError if it never is."""
        with self._changed:
            if not self._changed.wait_for(condition, seconds):
                raise AssertionError(f"did not happen in {seconds} s; the log: {self.exchanges}")

    def requests(self, method: str | None = None, path: str | None = None) -> list[Exchange]:
        """Those with this method and this in their path."""
        with self._changed:
            return [
                each for each in self.exchanges if method in (None, each.method) and (path is None or path in each.path)
            ]

    def asked(self, method: str, name: str) -> list[Exchange]:
        """Those for a digest or tag, without the ones that were only told to come back with credentials (401)."""
        return [each for each in self.requests(method) if each.name == name and each.status != 401]

    def gets(self, name: str) -> int:
        """How many GETs of this digest or tag; a redirected one counts, a 401 does not."""
        return len(self.asked("GET", name))

    def heads(self, name: str) -> int:
        """How many HEADs of this digest or tag."""
        return len(self.asked("HEAD", name))

    def bytes_sent(self, name: str) -> int:
        """Bytes of this digest or tag sent in all; bodies of errors are not of it."""
        return sum(each.bytes_sent for each in self.asked("GET", name) if each.status in (200, 206))

    def in_flight(self, name: str) -> int:
        """GETs of this digest or tag under way now."""
        return sum(each.alive for each in self.asked("GET", name))

    def peak_in_flight(self, name: str) -> int:
        """The most GETs of this digest or tag that were ever under way at once."""
        return self._peaks[name]

    def forget(self) -> None:
        """Start counting anew; what is under way is forgotten too."""
        with self._changed:
            self.exchanges.clear()
            self._peaks.clear()
