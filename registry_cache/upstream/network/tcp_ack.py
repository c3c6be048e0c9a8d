"""How many bytes of a body the kernel acknowledges before we have read them.

Linux acknowledges bytes when they are read, or after some 40 ms, but at once while fewer than the socket's low-water
mark lie unread (SO_RCVLOWAT; ``__tcp_ack_snd_check``). With the default mark of one byte, a sender sees how fast we
write to a disk; congestion control that paces by what it sees (BBR) slows down to that and stays there.
"""

from __future__ import annotations

import contextlib
import socket

# Bytes that a connection may hold unread and acknowledged while earlier ones are written.
READ_AHEAD = 1024 * 1024


def acknowledge_unread(connected: socket.socket, size: int) -> None:
    """Let up to ``size`` bytes of what arrives be acknowledged unread; 1 is the kernel's default.

    A read that waits for the socket waits for as many bytes: set 1 before each read.
    """
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
