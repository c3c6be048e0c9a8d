"""Where to listen, and whether that can be: tried before gunicorn does, which would end over it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from registry_cache.config import Config
from registry_cache.runtime.users import name_of_user
from registry_cache.server import active_config
from registry_cache.server.gunicorn_internals import Master
from registry_cache.server.listen_refusal import CannotListen, refusal


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
        _check(config)


def check_at_reload(master: Master, old: Config, new: Config) -> None:
    """Raise CannotListen if the new address cannot be listened on: gunicorn would close the old one and end."""
    if address(new) == address(old) or not master.binds_to(address(old)):
        return
    if master.has_systemd_sockets:
        raise CannotListen(
            "http.addr has changed, and the sockets are systemd's; change the socket unit, and restart both"
        )
    _check(new, remedy_if_taken="name a free one, or restart")


def _check(config: Config, remedy_if_taken: str | None = None) -> None:
    try:
        _listen_once(config)
    except OSError as error:
        where, port = address(config), config.http.port
        raise refusal("http.addr", where, port, error, remedy_if_taken=remedy_if_taken) from error


def _listen_once(config: Config) -> None:
    """Raise OSError if nobody can listen there, while the workers of before listen where they do."""
    path, host = config.http.socket, config.http.host
    if path is not None:
        check_socket_path(path)
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, config.http.port))
        trial.listen(1)


def check_socket_path(path: Path) -> None:
    """Raise OSError if nobody can listen there, or somebody does: gunicorn would take the socket away from them."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {path.parent}")
    if path.exists() and not path.is_socket():
        raise FileExistsError(0, "a file is there that is not a socket")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(0, f"user {name_of_user()} may not write in {path.parent}")
    if path.exists() and _answers(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _answers(path: Path) -> bool:
    """Whether somebody listens: a server that was killed leaves a socket that refuses."""
    with socket.socket(socket.AF_UNIX) as trial:
        # One whose queue is full must not keep us.
        trial.setblocking(False)
        return trial.connect_ex(str(path)) in (0, errno.EAGAIN)
