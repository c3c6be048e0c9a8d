"""How much of a body the kernel acknowledges before we have read it.

It acknowledges bytes when they are read, or after some 40 ms, but at once while fewer than the socket's low-water mark
lie unread (SO_RCVLOWAT; ``__tcp_ack_snd_check`` of Linux). Where the mark is one byte, a sender hears how fast we write
to a disk, and one whose congestion control paces by what it hears (BBR) slows down to that and stays there.
"""

from __future__ import annotations

import contextlib
import socket

import requests

# What a connection may hold unread and acknowledged while what came before is written.
AHEAD = 1024 * 1024


def acknowledge(response: requests.Response, size: int) -> None:
    """Let up to ``size`` bytes of the body of ``response`` be acknowledged unread; 1 is the kernel's own.

    Whoever waits for the socket waits for as many: set 1 before each read. A response that is over is left alone, its
    connection may be another's by now.
    """
    connection = response.raw.connection
    # Without a socket the server has said that it closes after this response.
    if connection is not None and connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
