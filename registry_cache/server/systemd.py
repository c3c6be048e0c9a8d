"""What systemd has to know of an upgrade by USR2, and what its sockets make of ``http.addr``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from registry_cache.config import Config

# gunicorn leaves here, for the master that USR2 starts, the process id of the one before.
_MASTER_BEFORE = "GUNICORN_PID"
_NOTIFY_SOCKET = "NOTIFY_SOCKET"


def end_master_before() -> None:
    """Called in a worker that serves: by now the master before ours (USR2) is not needed, and systemd may hear of ours.

    Only under systemd: without it, whoever sent USR2 decides when the old master ends.
    """
    before, master = os.environ.get(_MASTER_BEFORE), os.getppid()
    # Once the old one has ended, somebody else may have its number, but not be our master's parent.
    if _NOTIFY_SOCKET in os.environ and before is not None and _parent(master) == int(before):
        _notify(f"MAINPID={master}\nREADY=1")
        # It may have ended since the look. By an error this worker could not start, and our master would end.
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(before), signal.SIGTERM)


def address_warning(config: Config, addresses: list[object]) -> str | None:
    """Return what to tell the operator if systemd's sockets, at ``addresses``, are not where ``http.addr`` says."""
    path, port = config.http.socket, config.http.port
    if any(
        address == str(path) if path else isinstance(address, tuple) and address[1] == port for address in addresses
    ):
        return None
    wanted = path or f"{config.http.host}:{port}"
    return f"http.addr ({wanted}) has no effect: systemd listens; change ListenStream= in its socket unit"


def _parent(pid: int) -> int | None:
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1]
        )
    except OSError:
        return None


def _notify(state: str) -> None:
    """Tell systemd (sd_notify); without an error where it does not listen."""
    address = os.environ[_NOTIFY_SOCKET]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        try:
            systemd.connect("\0" + address[1:] if address.startswith("@") else address)
            systemd.send(state.encode())
        except OSError:
            return
