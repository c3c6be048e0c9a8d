"""How many bytes of a body the kernel acknowledges before we have read them, and whether the other end has ours.

Linux acknowledges bytes when they are read, or after some 40 ms, but at once while fewer than the socket's low-water
mark lie unread (SO_RCVLOWAT; ``__tcp_ack_snd_check``). With the default mark of one byte, a sender sees how fast we
write to a disk; congestion control that paces by what it sees (BBR) slows down to that and stays there.
"""

from __future__ import annotations

import contextlib
import socket
import struct

# Bytes that a connection may hold unread and acknowledged while earlier ones are written.
READ_AHEAD = 1024 * 1024

# Where Linux' struct tcp_info has the packets that were sent and not acknowledged, and the bytes that were not sent.
_UNACKNOWLEDGED, _NOT_SENT = 24, 144
_NUMBER = struct.Struct("=I")


def acknowledge_unread(connected: socket.socket, size: int) -> None:
    """Let up to ``size`` bytes of what arrives be acknowledged unread; 1 is the kernel's default.

    A read that waits for the socket waits for as many bytes: set 1 before each read.
    """
    with contextlib.suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


def is_acknowledged(connected: socket.socket) -> bool:
    """Tell whether all that we have sent has come to the other end's kernel: then it is there."""
    try:
        info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _NOT_SENT + _NUMBER.size)
        return all(_NUMBER.unpack_from(info, at) == (0,) for at in (_UNACKNOWLEDGED, _NOT_SENT))
    except (OSError, struct.error):
        return False
