"""The survey: what a pass over the whole store found last, for those who must not walk through it.

<root>/survey      a line of JSON with its sums, then the name of each repository on a line of its own, sorted
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from registry_cache.store import disk
from registry_cache.store.atomic_write import write_whole
from registry_cache.store.layout import Layout
from registry_cache.store.unchanged_files import UnchangedFiles

# A million names of a hundred letters; a larger file is not ours.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Survey:
    """What there was ``at`` that second since the epoch; to find it took ``seconds``.

    ``oldest``: last use, in seconds since the epoch, of what would be evicted next; None of an empty store.
    ``quarantined``: damaged files that wait for a person.
    """

    at: float
    seconds: float
    repositories: int
    tags: int
    blobs: int
    bytes: int
    oldest: float | None
    quarantined: int


@dataclass(frozen=True, slots=True)
class SurveyedStore:
    """A survey, and the names of all repositories: each between two line breaks."""

    survey: Survey
    names: bytes


class SurveyFile:
    """The file of one store, which is read again when it has changed."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.survey
        self._lock = threading.Lock()
        self._files = UnchangedFiles(_read)

    def write(self, survey: Survey, names: Iterable[str]) -> None:
        """Replace the file. Raises StoreError, StoreFull."""
        data = b"\n".join([json.dumps(asdict(survey)).encode(), *(name.encode() for name in sorted(names)), b""])
        with disk.store_errors("write the survey"):
            write_whole(self._path, data)

    def read(self) -> SurveyedStore | None:
        """Return what was found last; None where nobody has looked, or the file cannot be read. Raises StoreError."""
        with self._lock, disk.store_errors("read the survey"):
            return self._files.get(self._path)


def _read(path: str) -> SurveyedStore | None:
    data = disk.read_whole(path, _MOST_BYTES) or b""
    try:
        end = data.index(b"\n")
        return SurveyedStore(Survey(**json.loads(data[:end])), data[end:])
    except (ValueError, TypeError, RecursionError):
        return None
