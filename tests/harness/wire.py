"""Sends one reply over a socket, byte by byte as the body faults want it. Knows HTTP framing, not registries."""

import gzip
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import responses

from tests.harness.faults import BodyFaults
from tests.harness.journal import Exchange, Journal

CHUNK = 256 * 1024
PACED_CHUNK = 16 * 1024
GATE_SECONDS = 0.02  # how often a held transfer looks whether its client left
NO_LINGER = struct.pack("ii", 1, 0)
BODILESS = (204, 304)


class Cut(Exception):
    """The connection must close now: a fault wants it, or the server stops."""


@dataclass
class Reply:
    """What to send; `body` begins at offset `start` of the whole blob."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | memoryview = b""
    faults: BodyFaults | None = None
    start: int = 0


def hold(exchange: Exchange, faults: BodyFaults, journal: Journal, stopping: threading.Event) -> None:
    """Wait for the gate, as long as there is someone to wait for."""
    if faults.gate.is_set():
        return
    journal.note(exchange, held=True)
    while not faults.gate.wait(GATE_SECONDS):
        if stopping.is_set() or not exchange.alive:
            raise Cut
    journal.note(exchange, held=False)


def send(reply: Reply, exchange: Exchange, journal: Journal, stopping: threading.Event) -> None:
    """Send `reply` on the exchange's connection. Raises Cut where the connection must not be used again."""
    faults = reply.faults or BodyFaults()
    body, headers, chunked = memoryview(reply.body), list(reply.headers), False
    if reply.status not in (200, 206):
        faults = BodyFaults()
    elif exchange.method == "HEAD":
        faults = BodyFaults(no_length=faults.no_length or faults.no_head_length)
    if faults.gzip:
        body = memoryview(gzip.compress(body, mtime=0))
        headers.append(("Content-Encoding", "gzip"))
    if faults.no_length:
        chunked = True
        headers.append(("Transfer-Encoding", "chunked"))
    else:
        headers.append(("Content-Length", str(len(body) + faults.length_lie)))
    if exchange.method == "HEAD" or reply.status in BODILESS:
        # Bytes after such a head would be taken for the next answer on the connection, or not, as the moment has it.
        body, chunked = memoryview(b""), False
    lines = [f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    # The byte after which the client may be gone or ask anew. What is sent is noted before it is sent, and an exchange
    # is over before that byte: else a client that has its answer would find it missing here, if we were slow.
    last = None if chunked else max(0, len(body) + min(0, faults.length_lie)) - 1
    journal.note(exchange, status=reply.status)
    if last is not None and last < 0:
        journal.end(exchange)
    exchange.connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    position = 0
    for piece in _pieces(body, reply.start, faults, exchange, journal, stopping):
        journal.note(exchange, sent=len(piece))
        if chunked:
            frame = [b"%x\r\n" % len(piece), piece, b"\r\n"]
        elif last is not None and position <= last < position + len(piece):
            exchange.connection.sendall(piece[: last - position])
            journal.end(exchange)
            frame = [piece[last - position :]]
        else:
            frame = [piece]
        for part in frame:
            exchange.connection.sendall(part)
        position += len(piece)
    if chunked:
        journal.end(exchange)
        exchange.connection.sendall(b"0\r\n\r\n")
    if faults.length_lie:
        raise Cut


def _pieces(
    body: memoryview, start: int, faults: BodyFaults, exchange: Exchange, journal: Journal, stopping: threading.Event
) -> Iterator[bytes | memoryview]:
    """The body in pieces that end where something is to happen, each when its time has come."""
    cut, bad = faults.next_cut(), faults.next_corruption(start, start + len(body))
    began, position = time.monotonic(), 0
    while position < len(body):
        held = None if faults.hold_at is None else faults.hold_at - start
        if position == held:
            hold(exchange, faults, journal, stopping)
        if position == cut:
            if faults.reset:
                exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                exchange.connection.close()
            raise Cut
        marks = [mark for mark in (held, cut) if mark is not None and mark > position]
        end = min(position + (PACED_CHUNK if faults.rate else CHUNK), len(body), *marks)
        piece: bytes | memoryview = body[position:end]
        if bad is not None and start + position <= bad < start + end:
            flipped = bytearray(piece)
            flipped[bad - start - position] ^= 0xFF
            piece = bytes(flipped)
        yield piece
        position = end
        if faults.rate and stopping.wait(max(0.0, began + position / faults.rate - time.monotonic())):
            raise Cut
