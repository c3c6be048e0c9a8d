"""Count the hits that nginx answers itself from the store's files, by its access log, as if we had answered them.

The log has a line for each request, ours as well; those of nginx' own hits have ``hit app=-``, and at their end the
repository's folder and the user. ``deployment/nginx.conf.template`` has the format. How far it was read is in the day's
file, which is replaced together with the counts: a line is counted once, whoever is killed.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.runtime.event_queue import Answer
from registry_cache.runtime.log import Log
from registry_cache.stats.calendar import DAY_SECONDS, bucket_of, day_of
from registry_cache.stats.tally import DayTally, LogMark, Tally
from registry_cache.store.log_file import LogFile, LogPosition

# A quarter of a millisecond's work, so that clients of this process do not wait for it.
_SLICE_BYTES = 128 * 1024
# Slices of one look: eight times as many lines a second as nginx writes on a fast machine.
_SLICES = 100
# Different lines that are remembered before they are read, and of which one turn reads a millisecond's work.
_MOST_DIFFERENT, _TURN = 5000, 200
# Workers of nginx write what they have collected one after the other: some lines of a day come after the next day's.
_LATE_SECONDS = 60
# A log that cannot be read is named once an hour.
_WARN_SECONDS = 3600.0

# A request's id begins with its time, to the millisecond: a tag is asked for just before what it means.
# Possessive (++): otherwise a line of something else would be read ten times over.
_LINE = re.compile(
    r'^([^ \n]++) [^ \n]++ "(GET|HEAD) [^ "?\n]*/(blobs|manifests)/(sha(?:256|512):[0-9a-f]++)[^"\n]*+" 200 ([0-9]++)'
    r' ([0-9]++\.[0-9]++) hit app=- id=([0-9]{1,12}+\.[0-9]{3})-[^"\n]*+"[^"\n]*+" '
    r'([^ /"\n]++)/([^ "\n]++) "([^"\n]*+)"$',
    re.MULTILINE,
)
# What makes each line another: without it, lines that are alike are the same.
_ID = re.compile(" id=[0-9]++[.][0-9]++-[0-9]++-[0-9]++ ")
# A line's own time, which nginx wrote: a client may have " id=…" in its request, and in its name for itself, and would
# say when all others' hits were, and so when their blobs were used.
_TIME = re.compile(
    r'^[^ \n]++ [^ \n]++ "[^"\n]*+" [0-9]++ [0-9]++ [0-9.]++ [^"\n]*? id=([0-9]{1,12}\.[0-9]{3})-', re.MULTILINE
)
# In each line that counts, perhaps in others: to look for it costs a fraction of what a pattern does.
_HIT, _MANIFEST = " hit app=- ", "/manifests/"
# How nginx writes a byte that is not a plain letter.
_ESCAPE = re.compile(rb"\\x([0-9A-F]{2})")
_KINDS = {"blobs": "blob", "manifests": "manifest"}

_T = TypeVar("_T")

_log = Log(__name__)


class Hit(NamedTuple):
    """One of nginx' own answers, which took so many ``seconds``; its line began ``start`` characters into the text."""

    answer: Answer
    seconds: float
    start: int


@dataclass(slots=True)
class HitCounts:
    """How many answers of one kind there were, their bytes together, and how many took so many seconds."""

    number: int = 0
    size: int = 0
    seconds: Counter[float] = field(default_factory=Counter)


def read_lines(text: str) -> Iterator[Hit]:
    """Yield what each line tells that is of one of nginx' own hits."""
    for found in _LINE.finditer(text):
        client, method, folder, digest, size, seconds, at, upstream, repository, user = found.groups()
        kind = _KINDS[folder]
        of = (upstream, repository, digest, digest if kind == "manifest" else "")
        answer = Answer(float(at), client, _name(user), method, kind, *of, "hit", 200, int(size), "")
        yield Hit(answer, float(seconds), found.start())


def without_ids(text: str) -> list[str]:
    """Return the lines of ``text`` without what makes each of them another: to count them is cheaper than to read."""
    return _ID.sub(" ", text).split("\n")


def read_blob(line: str) -> Hit | None:
    """Return the blob's hit in a line ``without_ids``, except for its time; None where it is not such a line."""
    if _HIT not in line:
        return None
    whole = line.replace(_HIT, f"{_HIT}id=0.000- ", 1)
    return next((hit for hit in read_lines(whole) if hit.answer.kind == "blob"), None)


def read_manifests(text: str) -> Iterator[Hit]:
    """Yield each manifest's hit in ``text``."""
    if _MANIFEST in text:
        lines = (line for line in text.split("\n") if _HIT in line and _MANIFEST in line)
        for line in lines:
            yield from (hit for hit in read_lines(line) if hit.answer.kind == "manifest")


def _moments(text: str) -> tuple[float, float] | None:
    """Return the times of the first and of the last line; None where they have none."""
    last_line = text.rfind("\n", 0, text.rfind(" id=")) + 1
    first, last = _TIME.search(text), _TIME.search(text, last_line)
    return (float(first[1]), float(last[1])) if first and last else None


def _name(user: str) -> str:
    if user == "-":
        return ""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), user.encode("latin-1")).decode(errors="replace")


class NginxHits:
    """Follows nginx' log at ``path`` and counts into a ``tally`` of its own.

    ``count`` is told how many answers of each kind there were since it was told last, ``use`` what was used, and when,
    in nanoseconds since the epoch.
    """

    def __init__(
        self,
        path: str,
        tally: Tally,
        count: Callable[[Mapping[str, HitCounts]], None] = lambda counts: None,
        use: Callable[[Digest, int], object] = lambda digest, moment: None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path = path
        self._tally = tally
        self._count = count
        self._use = use
        self._pause = pause
        self._file: LogFile | None = None
        self._day: int | None = None
        # Lines of the same five minutes, which are read when all that are like them are there, and when the last was.
        self._alike: Counter[str] = Counter()
        self._alike_at = 0.0
        self._counts: dict[str, HitCounts] = {}
        self._used: dict[str, float] = {}
        self._warned_at = float("-inf")
        self._marked_at = 0

    def begin(self, known: Callable[[], LogMark | None]) -> None:
        """Read on from the last mark, which is ``known`` once what was counted until then is in the days' files.

        ``known`` looks into all of them, so it is not called while the log cannot be read. What it raises passes.
        """
        self._file = None
        try:
            LogFile(self._path)
            mark = known()
            self._marked_at = mark[3] if mark else 0
            self._file = LogFile(self._path, LogPosition(*mark[:3]) if mark else None)
        except OSError as error:
            self._warn(error)
            return
        if self._file.has_lost:
            _log.warning("nginx' log was rotated away before it was read: some hits are not counted", file=self._path)

    def stop(self) -> None:
        """Forget what was counted since the last write: it will be read again."""
        self._file, self._day = None, None
        self._alike.clear()
        for _ in self._tally.take():
            pass
        self._forget()

    @property
    def has_begun(self) -> bool:
        return self._file is not None

    def look(self) -> bool:
        """Count the lines that have come; True where a day is over, whose counts must be written before more."""
        try:
            for _ in range(_SLICES):
                lines = self._file.read(_SLICE_BYTES) if self._file else b""
                if not lines:
                    return False
                if self._count_lines(lines):
                    return True
                self._pause(0)
        except OSError as error:
            self._warn(error)
        return False

    def take(self) -> tuple[int, DayTally] | None:
        """Return the day and what was counted for it, with how far the log was read; None where nothing was."""
        self._count_alike()
        position = self._file.position if self._file else None
        found = list(self._tally.take())
        self._day = None
        if not found or position is None:
            return None
        [(day, tally)] = found
        # The last mark counts after a restart, so none may seem older than one of when a clock was ahead.
        self._marked_at = max(time.time_ns(), self._marked_at + 1)
        tally.log_position = (*position, self._marked_at)
        return day, tally

    def note_written(self) -> None:
        """What was taken is on the disk."""
        self._count(self._counts)
        for digest, moment in self._used.items():
            try:
                self._use(Digest.parse(digest), int(moment) * 1_000_000_000)
            except (RegistryError, OSError):
                # Evicted since, or a disk that has other troubles than this.
                continue
        self._forget()

    def _forget(self) -> None:
        self._counts = {}
        self._used.clear()

    def _count_lines(self, lines: bytes) -> bool:
        """Count ``lines``; True where one is of another day, and then it and those after it are to be read again."""
        text = lines.decode("latin-1")
        moments = _moments(text)
        is_short = moments is not None and bucket_of(moments[0]) == bucket_of(moments[1])
        if is_short and moments and self._within_day(moments[0]) == moments[0]:
            self._count_together(text, moments[1])
            return False
        for hit in read_lines(text):
            at = self._within_day(hit.answer.at)
            if at is None:
                if self._file:
                    self._file.step_back(len(lines) - hit.start)
                return True
            self._add(hit, at)
        return False

    def _count_together(self, text: str, at: float) -> None:
        """Count lines that are all of the same five minutes, the last one ``at`` then."""
        if bucket_of(at) != bucket_of(self._alike_at) or len(self._alike) > _MOST_DIFFERENT:
            self._count_alike()
        self._alike_at = at
        self._alike.update(without_ids(text))
        for manifest in self._in_turns(read_manifests(text)):
            self._add(manifest, manifest.answer.at)

    def _count_alike(self) -> None:
        for line, count in self._in_turns(self._alike.items()):
            blob = read_blob(line)
            if blob is not None:
                self._tally.add_alike(blob.answer, self._alike_at, count)
                self._note(blob, self._alike_at, count)
        self._alike.clear()

    def _in_turns(self, items: Iterable[_T]) -> Iterator[_T]:
        for number, item in enumerate(items, 1):
            yield item
            if number % _TURN == 0:
                self._pause(0)

    def _within_day(self, at: float) -> float | None:
        """Return when to count what was ``at`` then, or None where that is another day than we are counting."""
        if self._day is None:
            self._day = day_of(at)
        begin = self._day * DAY_SECONDS
        if day_of(at) == self._day:
            return at
        return float(begin) if begin - _LATE_SECONDS <= at < begin else None

    def _add(self, hit: Hit, at: float) -> None:
        self._tally.add(hit.answer if at == hit.answer.at else hit.answer._replace(at=at))
        self._note(hit, at, 1)

    def _note(self, hit: Hit, at: float, count: int) -> None:
        counts = self._counts.setdefault(hit.answer.kind, HitCounts())
        counts.number += count
        counts.size += hit.answer.size * count
        counts.seconds[hit.seconds] += count
        self._used[hit.answer.reference] = at

    def _warn(self, error: OSError) -> None:
        if time.monotonic() - self._warned_at > _WARN_SECONDS:
            self._warned_at = time.monotonic()
            reason = f"{error.strerror}: let the user of this server read it"
            _log.warning("cannot read nginx' log, so its hits are not counted", file=self._path, reason=reason)
