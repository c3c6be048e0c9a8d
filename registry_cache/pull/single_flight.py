"""Single flight: one piece of work a key at a time on this machine; those who come meanwhile share its outcome.

In a process, by a table; between processes, by a lock file whose note carries the outcome to those who wait for it. An
outcome is shared only with those who came before it was there: who comes later asks anew, so tags never age here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from registry_cache.errors import RegistryError, StoreError, UpstreamTimeout
from registry_cache.runtime import upstream_wait
from registry_cache.runtime.log import Log
from registry_cache.store import disk
from registry_cache.store.layout import Layout
from registry_cache.store.locks import LockFile

# The work itself is bounded by its upstream requests; a holder that outlasts this is stopped or stuck.
MAX_WAIT = 60.0

# Between two looks at a lock that another process holds.
_FIRST_POLL, _LAST_POLL = 0.002, 0.02

# A note is from the present: one that claims to be from the future stems from before a change of the clock.
_CLOCK_SLACK = 1.0

Record = Mapping[str, object]

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, in ``seconds`` from when it was asked, an answer is waited for, and ``what`` was asked."""

    seconds: float
    what: str

    def over(self) -> UpstreamTimeout:
        return UpstreamTimeout(f"no answer in {self.seconds:g} s when we {self.what}")


@dataclass(slots=True)
class _Outcome:
    """What came out, as JSON values or an error, and when (seconds since the epoch)."""

    record: Record = field(default_factory=dict)
    error: BaseException | None = None
    finished_at: float = 0.0

    def get(self) -> Record:
        if isinstance(self.error, RegistryError):
            # Many threads get it: each raises an error of its own, or their tracebacks would pile up in one.
            raise RegistryError.from_record(self.error.to_record()) from self.error
        if self.error:
            raise self.error
        return self.record


@dataclass(slots=True)
class _Running:
    began: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    outcome: _Outcome = field(default_factory=_Outcome)


class Flights:
    """The flights of one store."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._clock = clock
        self._mutex = threading.Lock()
        self._running: dict[str, _Running] = {}

    def run(self, key: str, work: Callable[[], Record], patience: Patience | None = None) -> Record:
        """Return what ``work`` returns, JSON values, done by us or by whoever was at it when we came.

        With ``patience`` the work has a thread of its own, and goes on when nobody waits any more. It counts from the
        work's begin: who comes while it takes longer than that does not wait for it as long again.
        Raises what ``work`` raised there; UpstreamTimeout after ``patience``, or where another process stays at it for
        too long.
        """
        arrived = self._clock()
        deadline = time.monotonic() + (patience.seconds if patience else MAX_WAIT)
        while True:
            running, ours = self._join(key)
            if ours and patience is None:
                return self._lead(key, running, arrived, work).get()
            if ours:
                self._send_off(key, running, arrived, work)
            until = min(deadline, running.began + patience.seconds) if patience else deadline
            with upstream_wait.waiting():
                in_time = running.done.wait(max(0.0, until - time.monotonic()))
            if not in_time:
                raise patience.over() if patience else _stuck(key)
            # The process' first may itself have shared an outcome that was there before we came.
            if running.outcome.finished_at >= arrived:
                return running.outcome.get()

    def start(self, key: str, work: Callable[[], Record]) -> None:
        """Have ``work`` done, in a thread of its own, unless somebody here is at it; nobody hears of its outcome."""
        running, ours = self._join(key)
        if ours:
            self._send_off(key, running, self._clock(), work)

    def _join(self, key: str) -> tuple[_Running, bool]:
        """Return who is at ``key`` in this process, and whether that is us from now on."""
        with self._mutex:
            running = self._running.get(key)
            if running:
                return running, False
            self._running[key] = running = _Running()
            return running, True

    def _send_off(self, key: str, mine: _Running, arrived: float, work: Callable[[], Record]) -> None:
        threading.Thread(target=self._lead, args=(key, mine, arrived, work), name=key, daemon=True).start()

    def _lead(self, key: str, mine: _Running, arrived: float, work: Callable[[], Record]) -> _Outcome:
        try:
            mine.outcome = self._across_processes(key, arrived, work)
        except BaseException as error:  # noqa: BLE001 — raised again by get(), for us and for all who wait
            mine.outcome = _Outcome(error=error, finished_at=self._clock())
        finally:
            with self._mutex:
                del self._running[key]
            mine.done.set()
        return mine.outcome

    def _across_processes(self, key: str, arrived: float, work: Callable[[], Record]) -> _Outcome:
        path = self._layout.flight(key)
        deadline = time.monotonic() + MAX_WAIT
        while True:
            try:
                lock = _hold(path, key, deadline)
            except StoreError as error:
                # A disk that takes no lock must not cost a pull: other processes may ask the same, that is all.
                _log.warning("no lock; asking upstream without", key=key, error=error.message)
                return self._work(work)
            with lock:
                shared = _parse_note(lock.read(), arrived, self._clock())
                if shared:
                    return shared
                if lock.named():
                    try:
                        outcome = self._work(work)
                        _leave_note(lock, outcome)
                        return outcome
                    finally:
                        lock.retire()

    def _work(self, work: Callable[[], Record]) -> _Outcome:
        try:
            record = work()
        except RegistryError as error:
            return _Outcome(error=error, finished_at=self._clock())
        return _Outcome(record=record, finished_at=self._clock())


def _hold(path: str, key: str, deadline: float) -> LockFile:
    """Return the lock file of ``path``, held; it may have lost its name. Raises StoreError, UpstreamTimeout."""
    pause = _FIRST_POLL
    with disk.reporting(f"lock {path}"):
        lock = LockFile(path)
        try:
            with upstream_wait.waiting():
                while not lock.acquire():
                    if time.monotonic() > deadline:
                        raise _stuck(key)
                    time.sleep(pause)
                    pause = min(pause * 2, _LAST_POLL)
        except BaseException:
            lock.close()
            raise
        return lock


def _leave_note(lock: LockFile, outcome: _Outcome) -> None:
    error = outcome.error.to_record() if isinstance(outcome.error, RegistryError) else None
    note = {"finished_at": outcome.finished_at, "record": outcome.record, "failed": error}
    try:
        lock.write(json.dumps(note).encode())
    except OSError as failure:
        # Those who wait ask for themselves.
        _log.debug("could not leave an outcome for other processes", error=str(failure))


def _parse_note(data: bytes, arrived: float, now: float) -> _Outcome | None:
    """Return the outcome in a note if it came about after ``arrived``; a torn or older one is none."""
    try:
        note = json.loads(data) if data else None
        if not note or not isinstance(note["record"], dict):
            return None
        if not arrived <= note["finished_at"] <= now + _CLOCK_SLACK:
            return None
        error = RegistryError.from_record(note["failed"]) if note["failed"] else None
        return _Outcome(note["record"], error, note["finished_at"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _stuck(key: str) -> RegistryError:
    return UpstreamTimeout(f"another process is still asking upstream for {key} after {MAX_WAIT:.0f} s; try again")
