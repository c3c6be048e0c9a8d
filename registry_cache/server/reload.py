"""Reload at HUP: try the new configuration first, and keep the old one if it cannot be used.

gunicorn by itself ends its master over whatever a reload finds wrong. And it gives the old workers the same time as at
a stop; here they go on until their last transfer is done, because nobody waits for them.
"""

from __future__ import annotations

import mmap

from registry_cache.config import ConfigError
from registry_cache.config.banner import lines, warnings
from registry_cache.errors import StoreError
from registry_cache.runtime.log import Log, capture_stderr, setup
from registry_cache.server import active_config, bind, side_listeners, systemd
from registry_cache.server.gunicorn_internals import Master
from registry_cache.server.listen_refusal import CannotListen

_log = Log(__name__)

# How long a worker that has been replaced may finish its transfers: a layer of 10 GB takes an hour at 3 MB/s. What goes
# on after it is a leak, and each holds a process's memory.
FINISH_SECONDS = 3600

_KEPT = "not reloaded: the configuration before stays in force"

# How often the master has replaced its workers. Shared with them: only so can one that is told to stop know why.
_reloads = mmap.mmap(-1, 8)


def generation() -> int:
    """Return how often the workers have been replaced; the same in the master and in every worker."""
    return int.from_bytes(_reloads[:], "little")


def announce(master: Master, word: str = "") -> None:
    """Say where we listen, what we mirror, where and for how long it is kept, and what to paste into daemon.json."""
    config = active_config.current()
    setup(config.log.level, config.log.formatter)
    capture_stderr(config.log.formatter)
    active_config.took_effect()
    if word:
        _log.info(word)
    # The sockets' own names: with port 0 or a socket handed over, the configuration does not know the address.
    addresses = [listener.getsockname() for listener in side_listeners.main_listeners(master)]
    for line in lines(config, addresses):
        _log.info(line)
    if there := side_listeners.DEBUG.bound_to():
        page = f", the page on http://{there}/ui/" if config.has_page else ""
        _log.info(f"metrics and health on http://{there}{page}")
    if there := side_listeners.PEERS.bound_to():
        _log.info(f"sharing downloads with other nodes, which ask on {there}")
    for warning in warnings(config):
        _log.warning(warning)
    if master.has_systemd_sockets and (told := systemd.address_warning(config, addresses)):
        _log.warning(told)


def begin_generation(master: Master) -> None:
    """Called when gunicorn has taken the new settings over, before it tells the old workers to stop."""
    _count_generation()
    announce(master, "reloaded")


def replace_workers(master: Master) -> None:
    """Fork new workers with the configuration in force; gunicorn then tells those that are too many to stop."""
    _count_generation()
    for _ in range(master.wanted_workers):
        master.start_worker()


def keep_serving(master: Master) -> None:
    """Called when a worker has ended: fork another if those that are left only finish what they began.

    gunicorn counts these as well, and would see no need.
    """
    serving = [worker for worker in master.workers.values() if worker.generation == generation()]
    # Without listeners it is a stop.
    if master.listeners and len(serving) < master.wanted_workers <= len(master.workers):
        master.start_worker()


def use_new_config(master: Master) -> bool:
    """Put the configuration of now in force; False, and a line for each problem, if it cannot be used."""
    try:
        config = active_config.read()
        bind.check_at_reload(master, active_config.current(), config)
        side_listeners.reload(master, config)
    except ConfigError as error:
        _log.error(_KEPT, problems=len(error.problems))
        for problem in error.problems:
            _log.error(str(problem))
        return False
    except (StoreError, CannotListen) as error:
        _log.error(_KEPT, problems=1)
        _log.error(str(error))
        return False
    except Exception:  # noqa: BLE001 (gunicorn's master would end, and every transfer with it)
        _log.exception("not reloaded, for a defect of this program: the configuration before stays in force")
        return False
    active_config.put(config)
    return True


def _count_generation() -> None:
    _reloads[:] = (generation() + 1).to_bytes(8, "little")
