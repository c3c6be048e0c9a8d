"""Do the same work on many items, a few at a time, in threads that end with the process."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

# Between two ticks: short enough that a progress line on a terminal seems to move.
TICK_SECONDS = 0.2

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


def side_by_side(
    work: Callable[[_Item], _Value], items: Sequence[_Item], threads: int, tick: Callable[[], None]
) -> Iterator[tuple[_Item, _Value]]:
    """Yield each item with ``work(item)`` as they end; call ``tick`` meanwhile, in the caller's thread.

    After a failure no further item is begun; it is raised when those that were have ended. The wait is bounded by
    ``work``'s own bounds.
    """
    # Daemon threads, unlike those of a pool: after Ctrl-C nobody waits for a layer of gigabytes.
    todo: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[_Item, list[_Value], BaseException | None]] = queue.SimpleQueue()
    for item in items:
        todo.put(item)

    def run() -> None:
        while (item := _next(todo)) is not None:
            try:
                ended.put((item[0], [work(item[0])], None))
            except BaseException as error:  # noqa: BLE001 — raised again in the caller's thread
                ended.put((item[0], [], error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    failure, awaited = None, len(items)
    while awaited:
        tick()
        try:
            done, values, error = ended.get(timeout=TICK_SECONDS)
        except queue.Empty:
            continue
        awaited -= 1
        if error is None:
            yield done, values[0]
            continue
        failure = failure or error
        while _next(todo):
            awaited -= 1
    if failure:
        raise failure


def _next(todo: queue.SimpleQueue[_Item]) -> tuple[_Item] | None:
    try:
        return (todo.get_nowait(),)
    except queue.Empty:
        return None
