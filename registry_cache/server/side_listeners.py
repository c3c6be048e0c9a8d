"""Sockets beside the main one, which gunicorn's master holds: ``http.debug.addr`` and ``cluster.addr``.

Each is one more listener of gunicorn's, so every worker answers there, and a stop closes it. gunicorn
treats its listeners by their configured addresses, and these have no such address: they are set apart meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

from registry_cache.config import Config
from registry_cache.server import active_config
from registry_cache.server.gunicorn_internals import Master
from registry_cache.server.listen_refusal import refusal

# Host and port; an empty host means all interfaces.
HostPort = tuple[str, int]


class SideListener:
    """The socket of the configuration's ``key``, of this master and of the workers that inherit it.

    ``variable``: by it a master that takes over from another (USR2) knows which descriptor is the socket, and of which
    address. Not REGISTRY_…: those are keys of the configuration. ``wanted``: where a configuration wants it.
    """

    def __init__(self, key: str, variable: str, wanted: Callable[[Config], HostPort | None]) -> None:
        self._key = key
        self._variable = variable
        self._wanted = wanted
        self._listener: Any = None
        self._descriptor: int | None = None
        self._at: HostPort | None = None

    def start(self, master: Master) -> None:
        """Called once, before anything listens. Raises CannotListen."""
        wanted = self._wanted(active_config.current())
        descriptor, _, address = os.environ.pop(self._variable, "").partition(" ")
        if descriptor and wanted and address == _text(wanted):
            self._hold(_socket(master, wanted, int(descriptor)), wanted)
            return
        if descriptor:
            # Otherwise clients would connect to it, and nobody would answer.
            os.close(int(descriptor))
        self._hold(self._open(master, wanted) if wanted else None, wanted)

    def listen(self, master: Master) -> None:
        """Called when gunicorn has its own listeners, at the start and at each reload."""
        if self._listener is not None and self._listener not in master.listeners:
            master.listeners.append(self._listener)

    def open_if_new(self, master: Master, config: Config) -> Any:
        """Return a listener where ``config`` wants another than there is, for ``take``. Raises CannotListen."""
        wanted = self._wanted(config)
        return self._open(master, wanted) if wanted and wanted != self._at else None

    def take(self, master: Master, listener: Any, config: Config) -> None:
        """Have ``listener``, of ``open_if_new``, in the place of the one before, and set it apart."""
        self._set_apart(master)
        wanted = self._wanted(config)
        if wanted != self._at:
            if self._listener is not None:
                self._listener.close()
            self._hold(listener, wanted)

    def hand_over(self, master: Master) -> None:
        """Called in the process that becomes the next master by USR2."""
        if self._at is not None:
            self._set_apart(master)
            master.tell_next_master(self._variable, f"{self._descriptor} {_text(self._at)}")

    def owns(self, listener: Any) -> bool:
        """Tell whether ``listener``, of gunicorn's, is this one.

        By the number of its descriptor: in a worker gunicorn makes other objects of its listeners.
        """
        return bool(listener.fileno() == self._descriptor)

    def bound_to(self) -> str | None:
        """Return where it listens, ``host:port``; None where nothing does."""
        if self._listener is None:
            return None
        host, port = self._listener.getsockname()[:2]
        return f"{f'[{host}]' if ':' in host else host}:{port}"

    def _hold(self, listener: Any, at: HostPort | None) -> None:
        self._listener, self._at = listener, at
        self._descriptor = listener.fileno() if listener is not None else None

    def _open(self, master: Master, wanted: HostPort) -> Any:
        try:
            return _socket(master, wanted)
        except OSError as error:
            raise refusal(self._key, _shown(wanted), wanted[1], error) from error

    def _set_apart(self, master: Master) -> None:
        master.listeners = [listener for listener in master.listeners if not self.owns(listener)]


def _debug_address(config: Config) -> HostPort | None:
    debug = config.http.debug
    return (debug.host, debug.port) if debug else None


def _peers_address(config: Config) -> HostPort | None:
    return (config.cluster.host, config.cluster.port) if config.shares_downloads else None


DEBUG = SideListener("http.debug.addr", "_CACHE_DEBUG_FD", _debug_address)
PEERS = SideListener("cluster.addr", "_CACHE_PEERS_FD", _peers_address)
ALL = (DEBUG, PEERS)


def reload(master: Master, config: Config) -> None:
    """Called before gunicorn reloads: it may close its listeners. Raises CannotListen; then nothing has changed."""
    with contextlib.ExitStack() as opened:
        new = []
        for side in ALL:
            new.append(side.open_if_new(master, config))
            if new[-1] is not None:
                opened.callback(new[-1].close)
        opened.pop_all()
    for side, listener in zip(ALL, new, strict=True):
        side.take(master, listener, config)


def main_listeners(master: Master) -> list[Any]:
    """Return gunicorn's own listeners."""
    return [listener for listener in master.listeners if not any(each.owns(listener) for each in ALL)]


def _text(at: HostPort) -> str:
    return f"{at[0] or '0.0.0.0'}:{at[1]}"  # noqa: S104 (the operator wrote `:5001`: all interfaces)


def _shown(at: HostPort) -> str:
    return f"[{at[0]}]:{at[1]}" if ":" in at[0] else _text(at)


def _socket(master: Master, at: HostPort, descriptor: int | None = None) -> Any:
    return master.open_listener(_text(at).rpartition(":")[0], at[1], descriptor)
