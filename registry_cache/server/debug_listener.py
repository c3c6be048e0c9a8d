"""The socket of ``http.debug.addr``, which gunicorn's master holds for monitoring.

It is one more listener of gunicorn's, so every worker answers there, and a stop closes it. gunicorn
treats its listeners by their configured addresses, and this one has no such address: it is set apart meanwhile.
"""

from __future__ import annotations

import os
from typing import Any

from registry_cache.config.model import DebugConfig
from registry_cache.server import active_config
from registry_cache.server.bind import CannotListen
from registry_cache.server.gunicorn_internals import Master

# By this a master that takes over from another (USR2) knows which descriptor is the socket, and of which address. Not
# REGISTRY_…: those are keys of the configuration.
_VARIABLE = "_CACHE_DEBUG_FD"


class _Held:
    """Of this master, and of the workers that inherit it."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.descriptor: int | None = None
        self.config: DebugConfig | None = None


_held = _Held()


def start(master: Master) -> None:
    """Called once, before anything listens. Raises CannotListen."""
    config = active_config.current().http.debug
    descriptor, _, address = os.environ.pop(_VARIABLE, "").partition(" ")
    if descriptor and config and address == _address(config):
        _hold(_socket(master, config, int(descriptor)), config)
        return
    if descriptor:
        # Otherwise clients would connect to it, and nobody would answer.
        os.close(int(descriptor))
    _replace(master, config)


def listen(master: Master) -> None:
    """Called when gunicorn has its own listeners, at the start and at each reload."""
    if _held.listener is not None and _held.listener not in master.listeners:
        master.listeners.append(_held.listener)


def reload(master: Master, config: DebugConfig | None) -> None:
    """Called before gunicorn reloads: it may close its listeners. Raises CannotListen, and then nothing has changed."""
    if config is None or _held.config is None or _address(config) != _address(_held.config):
        _replace(master, config)
    _held.config = config
    _set_apart(master)


def hand_over(master: Master) -> None:
    """Called in the process that becomes the next master by USR2."""
    if _held.config is not None:
        _set_apart(master)
        master.tell_next_master(_VARIABLE, f"{_held.descriptor} {_address(_held.config)}")


def is_debug(listener: Any) -> bool:
    """Tell whether ``listener``, of gunicorn's, is that of ``http.debug.addr``.

    By the number of its descriptor: in a worker gunicorn makes other objects of its listeners.
    """
    return bool(listener.fileno() == _held.descriptor)


def main_listeners(master: Master) -> list[Any]:
    """Return gunicorn's listeners but for that of ``http.debug.addr``."""
    return [listener for listener in master.listeners if not is_debug(listener)]


def address_line() -> str | None:
    """Return what to say at the start; None where nothing listens on an address of its own."""
    if _held.listener is None:
        return None
    host, port = _held.listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    page = f", the page on {url}/ui/" if active_config.current().has_page else ""
    return f"metrics and health on {url}{page}"


def _replace(master: Master, config: DebugConfig | None) -> None:
    before = _held.listener
    listener = _open(master, config) if config else None
    if before is not None:
        _set_apart(master)
        before.close()
    _hold(listener, config)


def _hold(listener: Any, config: DebugConfig | None) -> None:
    _held.listener, _held.config = listener, config
    _held.descriptor = listener.fileno() if listener is not None else None


def _address(config: DebugConfig) -> str:
    return f"{config.host or '0.0.0.0'}:{config.port}"  # noqa: S104 (the operator wrote `:5001`: all interfaces)


def _open(master: Master, config: DebugConfig) -> Any:
    try:
        return _socket(master, config)
    except OSError as error:
        reason = error.strerror or "not an address of this machine"
        words = f"http.debug.addr: cannot listen on {_address(config)}: {reason}; name another"
        raise CannotListen(words) from error


def _socket(master: Master, config: DebugConfig, descriptor: int | None = None) -> Any:
    return master.open_listener(_address(config).rpartition(":")[0], config.port, descriptor)


def _set_apart(master: Master) -> None:
    master.listeners = main_listeners(master)
