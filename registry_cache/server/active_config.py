"""The configuration in force: read and tried by gunicorn's master, inherited by the workers that it forks.

A worker that read the file itself would get, when it replaces one that crashed, what the operator is half way through
typing, and one worker that cannot start ends gunicorn's master.
"""

from __future__ import annotations

from registry_cache.config import Config, load_config
from registry_cache.store.layout import Layout

_held: list[Config] = []


def read() -> Config:
    """Return what the environment and its file say now, tried but not in force. Raises ConfigError, StoreError."""
    config = load_config()
    Layout.open(config.root)
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
