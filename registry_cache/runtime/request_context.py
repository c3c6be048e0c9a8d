"""What belongs to the request under way in this thread: how long it waits for upstream, and by whom it came.

Waits of other threads, such as a transfer's, belong to no request. By whom it came holds for the threads that work for
it as well, and is passed on with what they ask: of several caches that a registry leads to each other, the first knows
its own request again, and answers it with 508.

gunicorn's master imports this before it forks its workers, and so all of them call themselves the same.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from contextvars import Context, ContextVar
from typing import ParamSpec

from registry_cache.runtime import unwanted_reads

_P = ParamSpec("_P")

# A protocol's version and a pseudonym (RFC 9110 §7.6.3): a host name could be another cache's as well.
VIA = f"1.1 registry-cache-{secrets.token_hex(8)}"

# Caches one behind the other. Nobody has so many, and a longer ring ends as well.
MOST_CACHES = 8
_CACHE = re.compile(r"1\.1 registry-cache-[0-9a-f]{16}")


class Stopwatch:
    """``seconds`` waited so far."""

    __slots__ = ("running", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.running = False


_stopwatch: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)
_came_by: ContextVar[tuple[str, ...]] = ContextVar("came by", default=())
_has_left: ContextVar[Callable[[], bool]] = ContextVar("has left", default=lambda: False)


def begin_stopwatch() -> Stopwatch:
    """Return a new watch, which is now that of this thread or greenlet."""
    watch = Stopwatch()
    _stopwatch.set(watch)
    return watch


class waiting:
    """Measure how long the block waits for upstream. A wait within a wait counts once."""

    __slots__ = ("_began", "_watch")

    def __enter__(self) -> None:
        watch = _stopwatch.get()
        self._watch = None if watch is None or watch.running else watch
        if self._watch:
            self._began, self._watch.running = time.monotonic(), True

    def __exit__(self, *_: object) -> None:
        if self._watch:
            self._watch.seconds += time.monotonic() - self._began
            self._watch.running = False


def note_client(has_left: Callable[[], bool]) -> None:
    """Note for this thread how to find out that the request's client has left."""
    _has_left.set(has_left)


def client_has_left() -> bool:
    """Return whether nobody waits for the answer of this thread; False where it has no client."""
    return _has_left.get()()


def note_via(header: str) -> bool:
    """Note for this thread by whom a request came, from its ``Via``; return whether to answer it.

    Not one that has come by this server, or by MOST_CACHES others.
    """
    came_by = tuple(_CACHE.findall(header)) if header else ()
    _came_by.set(came_by)
    return VIA not in came_by and len(came_by) < MOST_CACHES


def came_by() -> str:
    """Return by whom what is under way in this thread came to us, for another node of ours; "" for nobody."""
    return ", ".join(_came_by.get())


def via() -> str:
    """Return what a registry is told by ``Via``."""
    return ", ".join((*_came_by.get(), VIA))


def start_thread(name: str, work: Callable[_P, object], *arguments: _P.args, **options: _P.kwargs) -> None:
    """Do ``work`` in a thread of its own; what it asks came to us as what is under way here."""
    # A frame of ours below ``work`` would keep what it works with for as long as an error of its own is remembered.
    context = Context()
    context.run(_came_by.set, _came_by.get())
    context.run(unwanted_reads.CURRENT.set, unwanted_reads.CURRENT.get())
    threading.Thread(target=context.run, args=(work, *arguments), kwargs=options, name=name, daemon=True).start()
