"""What gunicorn's master holds for those who watch: the workers' scoreboard, and the socket of ``http.debug.addr``.

That socket is one more listener of gunicorn's, so every worker answers there, and a stop closes it. It is kept out of
whatever gunicorn does with its listeners by their configured addresses, which it has none of.
"""

from __future__ import annotations

import os
from typing import Any

from gunicorn.sock import TCP6Socket, TCPSocket

from registry_cache.config.model import DebugConfig
from registry_cache.runtime.log import Log
from registry_cache.server import active_config
from registry_cache.server.metrics_slots import Scoreboard

# By this a master that takes over from another (USR2) knows which descriptor is the socket, and of which address. Not
# REGISTRY_…: those are keys of the configuration.
_VARIABLE = "_CACHE_DEBUG_FD"

_LOG = Log(__name__)


class _Held:
    """Of this master, and of the workers that inherit it."""

    def __init__(self) -> None:
        self.scoreboard: Scoreboard | None = None
        self.listener: Any = None
        self.descriptor: int | None = None
        self.config: DebugConfig | None = None


_held = _Held()


class Unusable(Exception):
    """Why ``http.debug.addr`` cannot be listened on."""


def start(server: Any, place: str | None) -> None:
    """Called once, before anything listens; ``place`` is a folder in memory. Raises Unusable."""
    try:
        _held.scoreboard = Scoreboard(place)
    except OSError as error:
        _count_apart(error)
    config = active_config.current().http.debug
    descriptor, _, address = os.environ.pop(_VARIABLE, "").partition(" ")
    if descriptor and config and address == _address(config):
        _hold(_socket(server, config, int(descriptor)), config)
        return
    if descriptor:
        # Else clients would connect to it, and wait for nobody.
        os.close(int(descriptor))
    _replace(server, config)


def listen(server: Any) -> None:
    """Called when gunicorn has its own listeners, at the start and at each reload."""
    if _held.listener is not None and _held.listener not in server.LISTENERS:
        server.LISTENERS.append(_held.listener)


def reload(server: Any, config: DebugConfig | None) -> None:
    """Called before gunicorn reloads: it may close its listeners. Raises Unusable, and then nothing has changed."""
    if config is None or _held.config is None or _address(config) != _address(_held.config):
        _replace(server, config)
    _held.config = config
    _set_apart(server)


def hand_over(server: Any) -> None:
    """Called in the process that becomes the next master by USR2."""
    if _held.config is not None:
        _set_apart(server)
        server.cfg.env_orig[_VARIABLE] = f"{_held.descriptor} {_address(_held.config)}"


def stop() -> None:
    """Called when the last worker has ended."""
    if _held.scoreboard is not None:
        _held.scoreboard.remove()


def fork(server: Any, worker: Any) -> None:
    """Called before a worker is forked."""
    worker.slot = None
    if _held.scoreboard is None:
        return
    try:
        worker.slot = _held.scoreboard.take(other.slot for other in server.WORKERS.values())
    except OSError as error:
        _count_apart(error)


def forked(worker: Any) -> None:
    """Called in a new worker, before it loads the application."""
    if _held.scoreboard is not None and worker.slot is not None:
        _held.scoreboard.join(worker.slot)


def ended(worker: Any) -> None:
    """Called when a worker has ended."""
    if _held.scoreboard is not None and worker.slot is not None:
        _held.scoreboard.forget(worker.slot)


def is_debug(listener: Any) -> bool:
    """Tell whether ``listener``, of gunicorn's, is that of ``http.debug.addr``.

    By the number of its descriptor: in a worker gunicorn makes other objects of its listeners.
    """
    return bool(listener.fileno() == _held.descriptor)


def mains(server: Any) -> list[Any]:
    """Return gunicorn's listeners but for that of ``http.debug.addr``."""
    return [listener for listener in server.LISTENERS if not is_debug(listener)]


def where() -> str | None:
    """Return what to say at the start; None where nothing listens on an address of its own."""
    if _held.listener is None:
        return None
    host, port = _held.listener.getsockname()[:2]
    return f"metrics and health on http://{f'[{host}]' if ':' in host else host}:{port}"


def _replace(server: Any, config: DebugConfig | None) -> None:
    before = _held.listener
    listener = _open(server, config) if config else None
    if before is not None:
        _set_apart(server)
        before.close()
    _hold(listener, config)


def _hold(listener: Any, config: DebugConfig | None) -> None:
    _held.listener, _held.config = listener, config
    _held.descriptor = listener.fileno() if listener is not None else None


def _address(config: DebugConfig) -> str:
    return f"{config.host or '0.0.0.0'}:{config.port}"  # noqa: S104 (the operator wrote `:5001`: all interfaces)


def _open(server: Any, config: DebugConfig) -> Any:
    try:
        return _socket(server, config)
    except OSError as error:
        reason = error.strerror or "not an address of this machine"
        words = f"http.debug.addr: cannot listen on {_address(config)}: {reason}; name another"
        raise Unusable(words) from error


def _socket(server: Any, config: DebugConfig, descriptor: int | None = None) -> Any:
    kind = TCP6Socket if ":" in config.host else TCPSocket
    return kind((_address(config).rpartition(":")[0], config.port), server.cfg, server.log, fd=descriptor)


def _set_apart(server: Any) -> None:
    server.LISTENERS = mains(server)


def _count_apart(error: OSError) -> None:
    _LOG.warning("no room for shared metrics: each worker tells its own", error=error.strerror)
