"""Look through the whole store for the page: names of repositories, sums, and what would be evicted next.

``python -m registry_cache.upkeep.survey ROOT`` does it once, in a process of its own at low priority; ``Surveyor``
starts it when somebody looks at what is old.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from registry_cache.errors import StoreError
from registry_cache.runtime import log
from registry_cache.store import disk, locks, quarantine
from registry_cache.store.last_use import UseSpreader
from registry_cache.store.layout import Layout
from registry_cache.store.pins import Pins
from registry_cache.store.repositories import repositories
from registry_cache.store.survey_file import Survey, SurveyedStore, SurveyFile
from registry_cache.upkeep.priority import step_back

__all__ = ["Survey", "SurveyedStore", "Surveyor", "look_through"]

# A survey is good for so long, and for so many times what it took: of a large store it costs two percent of a core.
_GOOD_SECONDS, _GOOD_TIMES = 15.0, 50
# Of some millions of blobs on a slow disk.
_MOST_SECONDS = 1800.0
_SECOND = 10**9

_log = log.Log("registry_cache.upkeep.survey")


def look_through(layout: Layout, now: float) -> bool:
    """Make and write a survey; False where another one is under way. Raises StoreError."""
    began = time.monotonic()
    with disk.store_errors("look through the store"), locks.hold_if_free(layout.survey_lock) as held:
        if not held:
            return False
        names, tags = [], 0
        for folder in repositories(layout):
            if folder.has_content():
                names.append(os.path.relpath(folder.path, layout.repositories))
                tags += len(folder.tags())
        blobs, size, oldest = _blobs(layout, now)
        quarantined = quarantine.count(layout)
        seconds = time.monotonic() - began
        survey = Survey(now, seconds, len(names), tags, blobs, size, oldest, quarantined)
        SurveyFile(layout).write(survey, names)
    return True


def _blobs(layout: Layout, now: float) -> tuple[int, int, float | None]:
    """Return how many blobs there are, their bytes, and when the one that a cleanup would take first was used."""
    spread = UseSpreader(layout, dry_run=True)
    pins, moment = Pins(layout), int(now * _SECOND)
    for pin in pins.all():
        for pinned in pins.pinned_by(pin):
            spread.note_manifest(pinned.digest, pinned.blob, moment)
    spread.run()
    count = size = 0
    oldest = moment
    for blob in spread.blobs():
        count, size, oldest = count + 1, size + blob.size, min(oldest, blob.used)
    return count, size, oldest / _SECOND if count else None


class Surveyor:
    """Knows the last survey of the store under ``layout``. ``start`` makes one and returns when it is there."""

    def __init__(
        self, layout: Layout, start: Callable[[Layout], None] | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._layout, self._now = layout, now
        self._file = SurveyFile(layout)
        self._start = start or _run_process
        self._lock = threading.Lock()
        self._is_running = False

    def look(self) -> SurveyedStore | None:
        """Return the last one, and start another in the background where it is old. None: there is none yet.

        Raises StoreError.
        """
        found = self._file.read()
        if found is None or self._is_old(found.survey):
            with self._lock:
                if not self._is_running:
                    self._is_running = True
                    threading.Thread(target=self._run, name="survey", daemon=True).start()
        return found

    def _is_old(self, survey: Survey) -> bool:
        return not 0 <= self._now() - survey.at < max(_GOOD_SECONDS, _GOOD_TIMES * survey.seconds)

    def _run(self) -> None:
        try:
            self._start(self._layout)
        except (OSError, StoreError) as error:
            _log.warning("could not look through the store", error=error)
        finally:
            self._is_running = False


def _run_process(layout: Layout) -> None:
    """Raises OSError where the process cannot be started."""
    process = subprocess.Popen(  # noqa: S603 (this interpreter, and no shell)
        [sys.executable, "-P", "-m", "registry_cache.upkeep.survey", layout.root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _log.warning("a survey took too long", seconds=_MOST_SECONDS)


if __name__ == "__main__":
    step_back()
    try:
        look_through(Layout(Path(sys.argv[1])), time.time())
    except StoreError as failure:
        # The server's log is this process's standard error.
        log.setup("info", "text")
        _log.warning("could not look through the store", error=failure)
        sys.exit(1)
