"""How this server names itself in requests to registries, to recognize one that was redirected back to it.

gunicorn's master imports this before it forks its workers, and so all of them say the same. A request that came from
another cache passes on by whom it came: of several caches that a registry leads to each other, the first knows it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A protocol's version and a pseudonym (RFC 9110 §7.6.3): a host name could be another cache's as well.
VIA = f"1.1 registry-cache-{secrets.token_hex(8)}"

# Caches one behind the other. Nobody has so many, and a longer ring ends as well.
MOST_CACHES = 8
_CACHE = re.compile(r"1\.1 registry-cache-[0-9a-f]{16}")

# The caches by which what is under way came to us, in this thread or greenlet.
_came_by: ContextVar[tuple[str, ...]] = ContextVar("came by", default=())


def begin(header: str) -> bool:
    """Note for this thread by whom a request came, from its ``Via``; return whether to answer it.

    Not one that has come by this server, or by MOST_CACHES others.
    """
    came_by = tuple(_CACHE.findall(header)) if header else ()
    _came_by.set(came_by)
    return VIA not in came_by and len(came_by) < MOST_CACHES


def passed_on() -> str:
    """Return by whom what is under way in this thread came to us, for another node of ours; "" for nobody."""
    return ", ".join(_came_by.get())


def ours() -> str:
    """Return what a registry is told."""
    return ", ".join((*_came_by.get(), VIA))


def kept(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return ``work`` for another thread, in which what it asks came to us as what is under way here."""
    came_by = _came_by.get()
    if not came_by:
        return work

    def run(*arguments: _P.args, **options: _P.kwargs) -> _T:
        _came_by.set(came_by)
        return work(*arguments, **options)

    return run
