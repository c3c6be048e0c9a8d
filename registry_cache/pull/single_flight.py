"""Single flight across the processes of this machine: a question is asked of upstream once, and all share the outcome.

Threads share it by ``runtime.single_flight``; processes by a lock file, whose holder leaves a note for those who wait.
An outcome is shared only with those who came before it was there: who comes later asks anew, so tags never age here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from registry_cache.errors import RegistryError, StoreError, UpstreamTimeout, forget_frames
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.runtime.single_flight import Flight, SingleFlight, raise_own
from registry_cache.store import disk
from registry_cache.store.layout import Layout
from registry_cache.store.locks import LockFile, wait_for

# The work is bounded by its upstream requests; a holder that takes longer was stopped or hangs.
HOLDER_TIMEOUT_SECONDS = 60.0

# A note from further in the future was written before the clock was changed.
_CLOCK_SLACK = 1.0

_T = TypeVar("_T")

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class NoteFormat(Generic[_T]):
    """How an outcome is written as JSON values for other processes, and read again.

    ``read`` raises ValueError, KeyError or TypeError for anything else.
    """

    write: Callable[[_T], Mapping[str, object]]
    read: Callable[[Mapping[str, Any]], _T]


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long an answer is waited for, in ``seconds`` from when it was asked, and ``what`` was asked."""

    seconds: float
    what: str

    def error(self) -> UpstreamTimeout:
        return UpstreamTimeout(f"no answer in {self.seconds:g} s when we {self.what}")


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[_T]):
    """What came out, here or in another process, and when (seconds since the epoch)."""

    finished_at: float
    value: _T | None = None
    error: RegistryError | None = None

    def get(self) -> _T:
        if self.error:
            raise_own(self.error)
        return cast("_T", self.value)


class MachineFlights:
    """The questions that the processes over one store ask."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._clock = clock
        self._here: SingleFlight[str, _Outcome[Any]] = SingleFlight()

    def run(self, key: str, work: Callable[[], _T], note: NoteFormat[_T], limit: TimeLimit | None = None) -> _T:
        """Return what ``work`` returns, done by us or by whoever had begun it when we came.

        With a ``limit`` the work has a thread of its own, and goes on when nobody waits any more. It counts from the
        work's begin: who comes while it takes longer than that does not wait for it as long again.
        Raises what ``work`` raised there; UpstreamTimeout behind the limit, or where another process takes too
        long for it.
        """
        arrived = self._clock()
        deadline = time.monotonic() + (limit.seconds if limit else HOLDER_TIMEOUT_SECONDS)
        while True:
            flight, ours = self._here.join(key)
            if ours and limit is None:
                self._here.lead(key, flight, partial(self._across_processes, key, arrived, work, note))
                led: _Outcome[_T] = flight.result()
                return led.get()
            if ours:
                self._start_thread(key, flight, arrived, work, note)
            until = min(deadline, flight.began + limit.seconds) if limit else deadline
            with request_context.waiting():
                in_time = flight.wait(max(0.0, until - time.monotonic()))
            if not in_time:
                raise limit.error() if limit else _holder_timeout(key)
            outcome: _Outcome[_T] = flight.result()
            # The first of this process may itself have shared an outcome that is older than our question. Ours is not,
            # even if it seems so because the clock was put back meanwhile: to ask anew would not end for a while.
            if ours or outcome.finished_at >= arrived:
                return outcome.get()

    def start(self, key: str, work: Callable[[], _T], note: NoteFormat[_T]) -> None:
        """Have ``work`` done in a thread of its own, unless this process does it already; nobody gets the outcome."""
        flight, ours = self._here.join(key)
        if ours:
            self._start_thread(key, flight, self._clock(), work, note)

    def _start_thread(
        self, key: str, flight: Flight[_Outcome[Any]], arrived: float, work: Callable[[], _T], note: NoteFormat[_T]
    ) -> None:
        lead = partial(self._across_processes, key, arrived, work, note)
        request_context.start_thread(key, self._here.lead, key, flight, lead)

    def _across_processes(self, key: str, arrived: float, work: Callable[[], _T], note: NoteFormat[_T]) -> _Outcome[_T]:
        path = self._layout.flight(key)
        deadline = time.monotonic() + HOLDER_TIMEOUT_SECONDS
        while True:
            try:
                lock = _hold(path, key, deadline)
            except StoreError as error:
                # A disk that takes no lock must not cost a pull: other processes may ask the same, that is all.
                _log.warning("no lock; asking upstream without", key=key, error=error.message)
                return self._outcome(work)
            with lock:
                shared = _read_note(lock.read(), note, arrived, self._clock())
                if shared:
                    return shared
                if lock.has_name():
                    try:
                        outcome = self._outcome(work)
                        _leave_note(lock, note, outcome)
                        return outcome
                    finally:
                        lock.retire()

    def _outcome(self, work: Callable[[], _T]) -> _Outcome[_T]:
        try:
            value = work()
        except RegistryError as error:
            # Its frames have the flight, and so the outcome: only the collector would free them, all at once.
            forget_frames(error)
            return _Outcome(self._clock(), error=error)
        return _Outcome(self._clock(), value)


def _hold(path: str, key: str, deadline: float) -> LockFile:
    """Return the lock file of ``path``, held; it may have lost its name. Raises StoreError, UpstreamTimeout."""
    with disk.store_errors(f"lock {path}"):
        lock = LockFile(path)
        try:
            with request_context.waiting():
                if not wait_for(lock.acquire, deadline - time.monotonic()):
                    raise _holder_timeout(key)
        except BaseException:
            lock.close()
            raise
        return lock


def _leave_note(lock: LockFile, note: NoteFormat[_T], outcome: _Outcome[_T]) -> None:
    failed = outcome.error.to_record() if outcome.error else None
    record = {} if outcome.error else note.write(outcome.get())
    document = {"finished_at": outcome.finished_at, "record": record, "failed": failed}
    try:
        data = json.dumps(document).encode()
        # A list of megabytes took a while; nobody else had a turn.
        time.sleep(0)
        lock.write(data)
    except OSError as failure:
        # Those who wait will ask for themselves.
        _log.debug("could not leave an outcome for other processes", error=str(failure))


def _read_note(data: bytes, note: NoteFormat[_T], arrived: float, now: float) -> _Outcome[_T] | None:
    """Return the outcome in a note if it came about after ``arrived``; None for a torn or older one."""
    try:
        document = json.loads(data) if data else None
        if not document or not isinstance(document["record"], dict):
            return None
        if not arrived <= document["finished_at"] <= now + _CLOCK_SLACK:
            return None
        if document["failed"]:
            return _Outcome(document["finished_at"], error=RegistryError.from_record(document["failed"]))
        return _Outcome(document["finished_at"], note.read(document["record"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RegistryError):
        return None


def _holder_timeout(key: str) -> RegistryError:
    timeout = HOLDER_TIMEOUT_SECONDS
    return UpstreamTimeout(f"another process is still asking upstream for {key} after {timeout:.0f} s; try again")
