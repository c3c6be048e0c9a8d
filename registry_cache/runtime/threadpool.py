"""Run a call that blocks in the kernel on a real thread.

Under the gevent worker a "thread" is a greenlet: hashing a large partial or waiting for fsync there would stop every
other client of the worker. Outside of it (the CLI, the tests in process) threads are real and the call is made here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent
import gevent.monkey
from gevent.threadpool import ThreadPool

# As many as gevent's own pool has. That one also looks up names: ten look-ups at a silent name server would hold up
# the commit of every download.
_THREADS = 10

_P = ParamSpec("_P")
_T = TypeVar("_T")

# One for each hub, that is one for each real thread that runs greenlets.
_pools: dict[object, ThreadPool] = {}


def run(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return ``function(*args, **kwargs)``, letting other greenlets run meanwhile; exceptions pass through."""
    return start(function, *args, **kwargs)()


def start(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> Callable[[], _T]:
    """Begin ``function(*args, **kwargs)`` on a real thread; return what waits for its end and returns its value.

    Outside of the gevent worker it is made here, and has ended.
    """
    if not gevent.monkey.is_module_patched("threading"):
        value = function(*args, **kwargs)
        return lambda: value

    def call() -> tuple[list[_T], BaseException | None]:
        _lower_priority()
        # gevent prints a traceback for what is raised in its pool, even if the caller expects it.
        try:
            return [function(*args, **kwargs)], None
        except BaseException as error:  # noqa: BLE001 — raised again in the caller
            return [], error

    job = _pool().spawn(call)

    def wait() -> _T:
        value, error = cast("tuple[list[_T], BaseException | None]", job.get())
        if error is not None:
            raise error
        return value[0]

    return wait


def _lower_priority() -> None:
    """Let this thread have its share of a core, but never take it from the thread that answers clients.

    That thread wakes ours, and on a busy machine would lose its core to it in the middle of a send.
    """
    # Another policy that an operator gave the process stays; and if a sandbox forbids it, we do without.
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _pool() -> ThreadPool:
    hub = gevent.get_hub()
    pool = _pools.get(hub)
    if pool is None:
        pool = _pools[hub] = ThreadPool(_THREADS, hub)
    return pool
