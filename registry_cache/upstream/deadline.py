"""Wait for an upstream no longer than so many seconds, whatever takes so long.

Socket time-outs bound one read, or one connection attempt to one address. They bound neither a silent name server, nor
eight addresses tried in turn, nor headers that drip. So the work runs in a thread of its own, and the caller stops
waiting when the time is over; the thread ends by the sockets' own time-outs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from registry_cache.errors import RegistryError, UpstreamTimeout, forget_frames
from registry_cache.runtime import request_context

_T = TypeVar("_T")


def run_with_timeout(
    seconds: float, what: str, work: Callable[[], _T], discard: Callable[[_T], object] = lambda value: None
) -> _T:
    """Return ``work()``, or raise what it raises, or UpstreamTimeout after ``seconds``; ``what`` names the work.

    A value that comes too late is given to ``discard``, which closes what it holds.
    """
    future = start(what, work, discard)
    try:
        with request_context.waiting():
            return future.result(seconds)
    except TimeoutError:
        if future.cancel():
            raise UpstreamTimeout(f"no answer in {seconds:g} s when we {what}") from None
        # The work itself timed out, or it has ended between the wait's end and here.
        return future.result()
    finally:
        # An error remembers this frame, and the future has the error: nobody but the collector would free them, a
        # hundred thousand at once, while no client has a turn.
        del future


def start(what: str, work: Callable[[], _T], discard: Callable[[_T], object]) -> Future[_T]:
    """Do ``work`` in a thread of its own; once the future is cancelled, its value is given to ``discard``."""
    future: Future[_T] = Future()
    request_context.start_thread(f"ask {what}", _run, future, work, discard)
    return future


def abandon(future: Future[_T], discard: Callable[[_T], object]) -> None:
    """Want no value any more; one that is there is given to ``discard``."""
    if not future.cancel():
        with contextlib.suppress(Exception):
            discard(future.result())


def _run(future: Future[_T], work: Callable[[], _T], discard: Callable[[_T], object]) -> None:
    try:
        value = work()
    except BaseException as error:  # noqa: BLE001 — raised again in the caller's thread
        if isinstance(error, RegistryError):
            forget_frames(error)
        if future.set_running_or_notify_cancel():
            future.set_exception(error)
        # As above: of this frame as well.
        del future
        return
    # From here on the caller can no longer give up; before, it may have.
    if future.set_running_or_notify_cancel():
        future.set_result(value)
    else:
        discard(value)
