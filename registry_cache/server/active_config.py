"""The configuration in force: read and checked by gunicorn's master, inherited by the workers that it forks.

If workers read the file themselves, one that replaces a crashed worker would get what the operator is half way through
typing; and a single worker that cannot start ends gunicorn's master.
"""

from __future__ import annotations

from collections.abc import Callable

from registry_cache.config import Config, ConfigError, load_config
from registry_cache.runtime.log import Format

_Check = Callable[[Config], object]

_held: list[Config] = []
_check: list[_Check] = []
# Of what was read last, if only to be refused for its store.
_formatter: list[Format] = []
_note: list[_Check] = []


def check_with(check: _Check) -> None:
    """Let ``read`` call ``check``, which raises StoreError where a configuration names a store that does not open."""
    _check[:] = [check]


def note_with(note: _Check) -> None:
    """Let ``took_effect`` call ``note`` with the configuration that the server serves by from now on."""
    _note[:] = [note]


def took_effect() -> None:
    """Called when the server serves by the configuration in force: at its start, and after each reload."""
    for note in _note:
        note(current())


def read() -> Config:
    """Return what the environment and its file say now, checked but not in force. Raises ConfigError, StoreError."""
    config = load_config()
    _formatter[:] = [config.log.formatter]
    for check in _check:
        check(config)
    return config


def put(config: Config) -> None:
    """Let ``config`` be what ``current`` returns, in this process and in those it forks from now on."""
    _held[:] = [config]


def current() -> Config:
    """Return the configuration in force; the first call of a process that inherited none reads it.

    Raises ConfigError, StoreError.
    """
    if not _held:
        put(read())
    return _held[0]


def formatter_of(error: Exception) -> Format:
    """Return how an error of ``current`` is to be logged: as the configuration says that it is about."""
    if isinstance(error, ConfigError):
        return error.formatter
    return _formatter[0] if _formatter else "text"
