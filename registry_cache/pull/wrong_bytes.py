"""What an upstream has sent wrong twice, and is not asked for until a pause is over.

All workers know of it, by the note of the upstream. Otherwise each client that wants it would have the same wrong bytes
downloaded twice more. Only for the repository that lied: another one of the same upstream may have the bytes right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from registry_cache.errors import UpstreamCorrupt
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Tag
from registry_cache.store.layout import Layout
from registry_cache.store.upstream_notes import UpstreamNote

# The first is over before a person has looked for the reason, and each is twice the one before: a content server that
# is broken for a day is asked a hundred times, and not by each of a thousand machines that pull every minute.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 10.0, 600.0
# After so long without wrong bytes the pauses begin anew.
_FORGET_SECONDS = 3600.0
# Of an upstream; those that end first are forgotten, and then asked for once more than needed.
MAX_PAUSES = 200

_TOPIC = "wrong"


@dataclass(frozen=True, slots=True)
class _Pause:
    """A pause of ``seconds`` that ends at ``until``, in seconds since the epoch."""

    until: float
    seconds: float


class WrongBytes:
    """What is not asked for just now, of all upstreams over one store. ``clock`` is time.time, but in tests."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.time) -> None:
        self._layout = layout
        self._clock = clock
        self._notes: dict[str, UpstreamNote] = {}

    def check(self, owner: FullName, reference: Digest | Tag) -> None:
        """Return where the reference may be asked for; one stat(2) where nothing is paused. Raises UpstreamCorrupt."""
        pause = _read(self._note(owner[0]).read().get(_TOPIC)).get(_key(owner, reference))
        left = pause.until - self._clock() if pause else 0.0
        # More than the longest: the clock was put back.
        if 0 < left <= LONGEST_PAUSE_SECONDS:
            raise UpstreamCorrupt(
                f"{owner[0]} sent bytes that are not {reference}, twice; it is asked again in {left:.0f} s",
                retry_after=left,
            )

    def pause(self, owner: FullName, reference: Digest | Tag) -> None:
        """Do not ask for the reference for a while: upstream has just sent wrong bytes for it twice."""
        key, now = _key(owner, reference), self._clock()

        def add(values: object) -> object:
            pauses = _read(values)
            before = pauses.get(key)
            if before and 0 < before.until - now <= LONGEST_PAUSE_SECONDS:
                # Of several who were sent the same, the first has said so.
                return values
            is_again = before is not None and now - before.until < _FORGET_SECONDS
            seconds = min(before.seconds * 2, LONGEST_PAUSE_SECONDS) if before and is_again else FIRST_PAUSE_SECONDS
            pauses[key] = _Pause(now + seconds, seconds)
            latest = sorted(pauses.items(), key=lambda each: each[1].until)[-MAX_PAUSES:]
            return {key: [pause.until, pause.seconds] for key, pause in latest}

        self._note(owner[0]).change(_TOPIC, add)

    def forget(self, owner: FullName, reference: Digest | Tag) -> None:
        """Forget the reference, of which the right bytes have come."""
        note, key = self._note(owner[0]), _key(owner, reference)
        if key not in _read(note.read().get(_TOPIC)):
            return

        def remove(values: object) -> object:
            left = {each: [pause.until, pause.seconds] for each, pause in _read(values).items() if each != key}
            return left or None

        note.change(_TOPIC, remove)

    def _note(self, upstream: str) -> UpstreamNote:
        note = self._notes.get(upstream)
        if note is None:
            note = self._notes[upstream] = UpstreamNote(self._layout, upstream)
        return note


def _key(owner: FullName, reference: Digest | Tag) -> str:
    return f"{owner[1]} {reference}"


def _read(values: object) -> dict[str, _Pause]:
    """Return the pauses in a note, which any version may have written."""
    if not isinstance(values, Mapping):
        return {}
    return {
        str(key): _Pause(float(value[0]), float(value[1]))
        for key, value in values.items()
        if isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)
    }
