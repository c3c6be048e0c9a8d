"""Events to be counted in the statistics: a queue in memory that one thread of this process empties.

To add to it takes less than a microsecond and no lock, from any thread: ``deque.append`` is one step. Where nobody
empties it, as in a command, nothing is added. See ``stats.recorder``.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple


class Answer(NamedTuple):
    """A request has its answer. "" where something is not known.

    ``at`` in seconds since the epoch; ``reference`` as it was asked for; ``digest`` of a manifest that was answered, as
    text or as something that has one; ``size`` in bytes; ``failure`` is the class of the error that the client got.
    """

    at: float
    client: str
    user: str
    method: str
    kind: str
    upstream: str
    repository: str
    reference: str
    digest: object
    outcome: str
    status: int
    size: int
    failure: str


class Amount(NamedTuple):
    """So much more of something: ``field`` of the sums, and the ``name`` in it, "" where that is one number."""

    at: float
    field: str
    name: str
    amount: int


class Change(NamedTuple):
    """Something that needs a look; ``at`` in seconds since the epoch, ``kind`` a ``stats.day.ChangeKind``.

    ``reference``: a tag or a digest. ``old`` and ``new``: what a tag meant and means, "" for all else.
    """

    at: float
    kind: str
    upstream: str
    repository: str
    reference: str
    old: str = ""
    new: str = ""


Event = Answer | Amount | Change

events: deque[Event] = deque()


class _Switch:
    is_on = False


_switch = _Switch()


def begin() -> None:
    """Collect events from now on: somebody empties ``events``."""
    _switch.is_on = True


def end() -> None:
    """Collect no more: nobody empties ``events``."""
    _switch.is_on = False
    events.clear()


def add(event: Event) -> None:
    """Add one event, if events are collected."""
    if _switch.is_on:
        events.append(event)


def add_amount(field: str, name: str, amount: int) -> None:
    """Add ``amount`` to ``name`` in ``field`` of the sums."""
    if _switch.is_on:
        events.append(Amount(time.time(), field, name, amount))


def add_evictions(blobs: int, size: int) -> None:
    """Add evicted ``blobs``, of ``size`` bytes together."""
    if blobs:
        add_amount("evicted_blobs", "", blobs)
        add_amount("evicted_bytes", "", size)


def add_change(kind: str, upstream: str, repository: str, reference: str, old: str = "", new: str = "") -> None:
    """Add a change that needs a look."""
    if _switch.is_on:
        events.append(Change(time.time(), kind, upstream, repository, reference, old, new))
