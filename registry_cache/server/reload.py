"""What HUP does in gunicorn's master: it tries the new configuration first, and keeps the old one if that cannot be.

gunicorn by itself ends its master over whatever a reload finds wrong. And it gives the workers of before the same time
as at a stop; here they go on until their last transfer is done, because nobody waits for them.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from registry_cache.config import Config, ConfigError
from registry_cache.config.banner import lines, warnings
from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log, setup
from registry_cache.server import active_config, debug_listener, launcher

_LOG = Log(__name__)

# How long a worker that has been replaced may finish its transfers: a layer of 10 GB takes an hour at 3 MB/s. What goes
# on after it is a leak, and each holds a process's memory.
FINISH_SECONDS = 3600

# In an operator's words, where the kernel's are short.
_WHY = {errno.EADDRINUSE: "something listens there already, perhaps the registry that this one takes the place of"}

# How often the master has replaced its workers. Shared with them: only so can one that is told to stop know why.
_reloads = mmap.mmap(-1, 8)


class Refused(Exception):
    """Why a configuration that is right cannot be what is served by."""


def generation() -> int:
    """Return how often the workers have been replaced; the same in the master and in every worker."""
    return int.from_bytes(_reloads[:], "little")


def install(server: Any) -> None:
    """Put our handler of HUP before gunicorn's, and mend that of USR2.

    ``server`` is gunicorn's arbiter, which looks its handlers up by name.
    """
    gunicorns: Callable[[], None] = server.handle_hup

    def handle_hup() -> None:
        if _take_over(server):
            gunicorns()

    server.handle_hup = handle_hup
    # For USR2. gunicorn would run its file by the file's name, and beside that file the standard library's http is its
    # own.
    server.START_CTX["args"] = [*launcher.again(), *sys.argv[1:]]


def announce(server: Any, word: str = "") -> None:
    """Say where we listen, what we mirror, where and for how long it is kept, and what to paste into daemon.json."""
    config = active_config.current()
    setup(config.log.level, config.log.formatter)
    if word:
        _LOG.info(word)
    # The sockets' own names: with port 0 or a socket handed over, the configuration does not know the address.
    for line in lines(config, [listener.getsockname() for listener in debug_listener.mains(server)]):
        _LOG.info(line)
    if there := debug_listener.where():
        _LOG.info(there)
    for warning in warnings(config):
        _LOG.warning(warning)


def replaced(server: Any) -> None:
    """Called between gunicorn's taking the new settings over and its telling the old workers to stop."""
    _begin_generation()
    announce(server, "reloaded")


def replace(server: Any) -> None:
    """Fork new workers with the configuration in force; gunicorn then tells those that are too many to stop."""
    _begin_generation()
    for _ in range(server.num_workers):
        server.spawn_worker()


def _begin_generation() -> None:
    _reloads[:] = (generation() + 1).to_bytes(8, "little")


def keep_serving(server: Any) -> None:
    """Called when a worker has ended: fork another if those that are left only finish what they began.

    gunicorn counts these as well, and would see no need.
    """
    serving = [worker for worker in server.WORKERS.values() if worker.generation == generation()]
    # Without listeners it is a stop.
    if server.LISTENERS and len(serving) < server.num_workers <= len(server.WORKERS):
        server.spawn_worker()


def address(config: Config) -> str:
    """Where to listen, as gunicorn's ``bind`` has it."""
    if config.http.socket is not None:
        return f"unix:{config.http.socket}"
    host = config.http.host or "0.0.0.0"  # noqa: S104 (the operator wrote `:5000`, which means all interfaces)
    return f"[{host}]:{config.http.port}" if ":" in host else f"{host}:{config.http.port}"


def _take_over(server: Any) -> bool:
    """Put the configuration of now in force; False, and a line for each problem, if it cannot be."""
    try:
        config = active_config.read()
        _check_address(server, active_config.current(), config)
        debug_listener.reload(server, config.http.debug)
    except ConfigError as error:
        _LOG.error("not reloaded: the configuration before stays in force", problems=len(error.problems))
        for problem in error.problems:
            _LOG.error(str(problem))
        return False
    except (StoreError, Refused, debug_listener.Unusable) as error:
        _LOG.error("not reloaded: the configuration before stays in force", problems=1)
        _LOG.error(str(error))
        return False
    except Exception:  # noqa: BLE001 (gunicorn's master would end, and every transfer with it)
        _LOG.exception("not reloaded, for a defect of this program: the configuration before stays in force")
        return False
    active_config.put(config)
    return True


def check_address(server: Any) -> None:
    """Raise Refused where the configured address, if it is what gunicorn is to bind, cannot be listened on.

    gunicorn would try for five seconds, and then name neither the key nor what to do.
    """
    config = active_config.current()
    # Handed over, by systemd or by the master before us (USR2).
    if server.cfg.settings["bind"].value == [address(config)] and not os.environ.keys() & {"LISTEN_FDS", "GUNICORN_FD"}:
        _try_address(config, "stop what is in the way, or name another")


def _check_address(server: Any, old: Config, new: Config) -> None:
    """Raise Refused where the new address cannot be listened on: gunicorn would close the old one and end."""
    bind = address(new)
    if bind == address(old) or server.cfg.settings["bind"].value != [address(old)]:
        return
    if server.systemd:
        raise Refused("http.addr has changed, and the sockets are systemd's; change the socket unit, and restart both")
    _try_address(new, "name a free one, or restart")


def _try_address(config: Config, remedy: str) -> None:
    try:
        _listen_once(config)
    except OSError as error:
        reason = _WHY.get(error.errno or 0) or error.strerror or "not an address of this machine"
        raise Refused(f"http.addr: cannot listen on {address(config)}: {reason}; {remedy}") from error


def _listen_once(config: Config) -> None:
    """Raise OSError where nobody can listen, as long as the workers of before listen where they do."""
    path, host = config.http.socket, config.http.host
    if path is not None:
        if not os.access(path.parent, os.W_OK | os.X_OK) or (path.exists() and not path.is_socket()):
            raise PermissionError(0, "no socket can be made there")
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, config.http.port))
        trial.listen(1)
