"""A bound on how long an upstream is waited for, whatever it is that takes so long.

Socket time-outs bound one read, one connection attempt to one address. They bound neither a name server that is silent,
nor eight addresses tried in turn, nor headers that drip. So a question is asked in a thread of its own, and whoever
waits for it stops waiting when the time is over; the thread ends by the sockets' own time-outs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from registry_cache.errors import UpstreamTimeout
from registry_cache.runtime import upstream_wait

_T = TypeVar("_T")


@dataclass(slots=True)
class _Answer(Generic[_T]):
    """What the asking thread leaves; exactly one of ``value`` and ``error`` when ``done``."""

    done: threading.Event = field(default_factory=threading.Event)
    taken: threading.Lock = field(default_factory=threading.Lock)
    abandoned: bool = False
    value: list[_T] = field(default_factory=list)
    error: BaseException | None = None


def bounded(
    seconds: float, what: str, ask: Callable[[], _T], discard: Callable[[_T], object] = lambda value: None
) -> _T:
    """Return ``ask()``, or raise what it raises, or UpstreamTimeout after ``seconds``; ``what`` names the question.

    An answer that comes too late is given to ``discard``, which closes what it holds.
    """
    answer: _Answer[_T] = _Answer()
    thread = threading.Thread(target=_ask, args=(answer, ask, discard), name=f"ask {what}", daemon=True)
    thread.start()
    with upstream_wait.waiting():
        in_time = answer.done.wait(seconds)
    if not in_time:
        with answer.taken:
            # Between the wait's end and here the answer may have come after all.
            if not answer.done.is_set():
                answer.abandoned = True
                raise UpstreamTimeout(f"no answer in {seconds:g} s when we {what}")
    if answer.error:
        raise answer.error
    return answer.value[0]


def _ask(answer: _Answer[_T], ask: Callable[[], _T], discard: Callable[[_T], object]) -> None:
    try:
        value = ask()
    except BaseException as error:  # noqa: BLE001 — raised again where it was asked for
        answer.error = error
        answer.done.set()
        return
    with answer.taken:
        late = answer.abandoned
        answer.value.append(value)
        answer.done.set()
    if late:
        discard(value)
