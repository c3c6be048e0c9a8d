"""Single flight within a process: of those who want the same thing at once, one does the work for all.

Nothing is remembered: whoever comes when the work has ended starts it anew. Across processes: ``pull.single_flight``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, NoReturn, TypeVar

from registry_cache.errors import RegistryError

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class Flight(Generic[_Value]):
    """One piece of work under way; ``began`` is by the monotonic clock."""

    __slots__ = ("_done", "_error", "_value", "began")

    _value: _Value

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._done = threading.Event()
        self._error: BaseException | None = None

    def wait(self, seconds: float | None = None) -> bool:
        """Return whether the work has ended, after ``seconds`` at most; None waits until it has."""
        return self._done.wait(seconds)

    def result(self) -> _Value:
        """Return what the work returned, or raise what it raised; ask when it has ended."""
        if self._error is not None:
            raise_own(self._error)
        return self._value

    def end(self, value: _Value) -> None:
        self._value = value
        self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._done.set()


class SingleFlight(Generic[_Key, _Value]):
    """Work under way in this process, by key."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._flights: dict[_Key, Flight[_Value]] = {}

    def join(self, key: _Key) -> tuple[Flight[_Value], bool]:
        """Return the flight of ``key``, and True where it is a new one: the caller must then ``lead`` it."""
        with self._mutex:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight()
            return flight, True

    def lead(self, key: _Key, flight: Flight[_Value], work: Callable[[], _Value]) -> None:
        """Do the work of a new flight, in this thread. Raises nothing: ``flight.result`` does."""
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 — raised again by result(), for us and for all who wait
            self._remove(key)
            flight.fail(error)
        else:
            self._remove(key)
            flight.end(value)

    def run(self, key: _Key, work: Callable[[], _Value], seconds: float | None = None) -> _Value:
        """Return what ``work`` returns, done by us or by whoever had begun it when we came; raise what it raised.

        Who waits for another's work does so for ``seconds`` at most, and then gets TimeoutError.
        """
        flight, ours = self.join(key)
        if ours:
            self.lead(key, flight, work)
        elif not flight.wait(seconds):
            raise TimeoutError
        return flight.result()

    def _remove(self, key: _Key) -> None:
        # Before those who wait go on: whoever comes after an outcome is known needs one of their own.
        with self._mutex:
            del self._flights[key]


def raise_own(error: BaseException) -> NoReturn:
    """Raise ``error`` in one of many threads: a copy, or the tracebacks of all would pile up in one object."""
    if isinstance(error, RegistryError):
        raise RegistryError.from_record(error.to_record()) from error
    raise error
