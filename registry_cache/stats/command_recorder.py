"""Count what a command does beside a server, or without one.

Whoever folds is the server; where none runs, the command folds itself, and lets go of the lock at once: a server that
starts meanwhile must not wait for a command of hours.
"""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType

from registry_cache.runtime import event_queue
from registry_cache.stats.files import StatisticsFiles
from registry_cache.stats.keeper import Keeper
from registry_cache.stats.recorder import LOOK_SECONDS, Recorder
from registry_cache.stats.tally import Tally


class CommandRecorder:
    """Counts inside of ``with``, in a command, which has threads of its own and no other recorder.

    What a full disk refuses at the end is lost, with a line in the log.
    """

    def __init__(self, files: StatisticsFiles, keeper: Keeper, tally: Tally) -> None:
        self._keeper = keeper
        self._recorder = Recorder(files, keeper, tally)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="statistics", daemon=True)

    def __enter__(self) -> None:
        event_queue.begin()
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._recorder.end(0.0)
        event_queue.end()

    def _run(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            self._recorder.look()
            self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            self._keeper.release()
