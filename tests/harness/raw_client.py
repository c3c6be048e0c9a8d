"""A client that sends exactly the bytes it is given, and reads what comes back."""

import contextlib
import http.client
import socket

from tests.harness.pullers import CHUNK, SILENCE_SECONDS, Answer


def connect(address: str, seconds: float = SILENCE_SECONDS) -> socket.socket:
    """A connection to HOST:PORT, on which no wait takes longer than `seconds`."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=seconds)


def exchange(address: str, data: bytes, *, ends: bool = True) -> bytes:
    """All that comes back, to the end of the connection.

    The end may be a reset: the server need not read all of what was sent. With `ends` it is told that no more comes.
    """
    received = b""
    with connect(address) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(CHUNK):
                received += piece
    return received


def ask(address: str, request: bytes) -> Answer:
    """The first answer to exactly these bytes; the server is not told that no more comes."""
    with connect(address) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=request.partition(b" ")[0].decode("latin-1"))
        response.begin()
        return Answer(response.status, response.headers, response.read())
