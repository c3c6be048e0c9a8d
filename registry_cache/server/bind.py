"""Where to listen, and whether that can be: tried before gunicorn does, which would end over it."""

from __future__ import annotations

import errno
import os
import socket

from registry_cache.config import Config
from registry_cache.server import active_config
from registry_cache.server.gunicorn_internals import Master

# In an operator's words, where the kernel's are short.
_REASONS = {errno.EADDRINUSE: "something listens there already, perhaps the registry that this one takes the place of"}


class CannotListen(Exception):
    """Why an address cannot be listened on, and what to do."""


def address(config: Config) -> str:
    """Return where to listen, as gunicorn's ``bind`` has it."""
    if config.http.socket is not None:
        return f"unix:{config.http.socket}"
    host = config.http.host or "0.0.0.0"  # noqa: S104 (the operator wrote `:5000`, which means all interfaces)
    return f"[{host}]:{config.http.port}" if ":" in host else f"{host}:{config.http.port}"


def check_at_start(master: Master) -> None:
    """Raise CannotListen if the configured address is what gunicorn is to bind, and cannot be listened on.

    gunicorn would try for five seconds, and then name neither the key nor what to do.
    """
    config = active_config.current()
    # Handed over, by systemd or by the master before us (USR2).
    is_handed_over = bool(os.environ.keys() & {"LISTEN_FDS", "GUNICORN_FD"})
    if master.binds_to(address(config)) and not is_handed_over:
        _check(config, "stop what is in the way, or name another")


def check_at_reload(master: Master, old: Config, new: Config) -> None:
    """Raise CannotListen if the new address cannot be listened on: gunicorn would close the old one and end."""
    if address(new) == address(old) or not master.binds_to(address(old)):
        return
    if master.has_systemd_sockets:
        raise CannotListen(
            "http.addr has changed, and the sockets are systemd's; change the socket unit, and restart both"
        )
    _check(new, "name a free one, or restart")


def _check(config: Config, remedy: str) -> None:
    try:
        _listen_once(config)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or "not an address of this machine"
        raise CannotListen(f"http.addr: cannot listen on {address(config)}: {reason}; {remedy}") from error


def _listen_once(config: Config) -> None:
    """Raise OSError if nobody can listen there, while the workers of before listen where they do."""
    path, host = config.http.socket, config.http.host
    if path is not None:
        if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not path.is_socket()):
            raise PermissionError(0, "no socket can be made there")
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, config.http.port))
        trial.listen(1)
