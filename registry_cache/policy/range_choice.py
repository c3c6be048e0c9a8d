"""Should a range of a blob that is not here be fetched by itself, and when is the whole worth fetching?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MIB = 1024 * 1024

# What a lazy reader asks for: a footer, a table of contents, some chunks. Whoever wants more than this at once, or more
# than half of the blob, is going to want the rest.
MAX_RANGE = 4 * MIB
# A blob of this size has arrived before a second request for more of it would be answered.
SMALL_BLOB = 128 * 1024
# Layers have some GB. An upstream may announce any size, and the map of its pieces grows with it: here it has 128 MiB.
LARGEST_BLOB = 128 * 1024 * MIB
# A running download whose speed is not known yet reaches what is nearer than this before a request of its own does.
NEAR_SIZE = MIB
# A request of one's own costs upstream a request: it must be worth that much waiting, in seconds.
MIN_GAIN_SECONDS = 0.05
# Over less than this a speed says nothing.
MEASURE_SECONDS = 0.2

# A blob that clients go on reading by ranges is worth having whole: once they have done so for this long, ...
FILL_AFTER_SECONDS = 10.0
# ... or have asked for this share of it. Then the rest costs little more.
FILL_PERCENT = 25

# How long a request of a download lasts that is followed by the next without a gap, or with one; and its bytes at most.
OVERLAPPING_SECONDS, SINGLE_SECONDS = 0.4, 2.0
MAX_SPAN = 16 * MIB


class Way(Enum):
    """PIECES: by a request of its own, in pieces that are kept. DOWNLOAD: by the download of the whole."""

    PIECES = auto()
    DOWNLOAD = auto()


@dataclass(frozen=True, slots=True)
class Running:
    """A download under way: it is at byte ``position``; ``arrived`` bytes came in the last ``seconds``."""

    position: int
    arrived: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RangeFacts:
    """The bytes from ``start`` up to ``stop`` of a blob of ``size`` are asked for.

    ``asked``: how many bytes all parts of the request have together, None for these alone. ``running``: the download of
    the whole, None where there is none. ``answer_seconds``: how long upstream takes to answer a request.
    ``is_here``: all of them are here in pieces.
    """

    start: int
    stop: int
    size: int
    running: Running | None = None
    answer_seconds: float = 0.0
    asked: int | None = None
    is_here: bool = False


def choose(facts: RangeFacts) -> Way:
    """Return how the range comes here soonest, without bytes that nobody wants."""
    length = facts.stop - facts.start if facts.asked is None else facts.asked
    is_small = length <= MAX_RANGE and 2 * length <= facts.size
    if not SMALL_BLOB < facts.size <= LARGEST_BLOB or length <= 0:
        return Way.DOWNLOAD
    if facts.running is None:
        return Way.PIECES if is_small else Way.DOWNLOAD
    # The end of a blob comes with the verdict on it, unless somebody asks for a small part of it.
    may_overtake = is_small or facts.stop < facts.size
    return Way.PIECES if may_overtake and _is_far(facts, facts.running) else Way.DOWNLOAD


def _is_far(facts: RangeFacts, running: Running) -> bool:
    """Tell whether the download gets to the range's beginning later than a request of its own."""
    missing = facts.start - running.position
    if facts.is_here:
        # The download may stand still at any moment.
        return missing > 0
    if running.seconds < MEASURE_SECONDS:
        return missing > NEAR_SIZE
    return missing * running.seconds > running.arrived * (facts.answer_seconds + MIN_GAIN_SECONDS)


def is_worth_filling(here: int, size: int, asked_seconds: float) -> bool:
    """Tell whether to fetch the rest of a blob of which ``here`` bytes are here, and which was asked for so long."""
    return asked_seconds >= FILL_AFTER_SECONDS or here * 100 >= size * FILL_PERCENT


def span_size(bytes_per_second: float, *, overlaps: bool) -> int:
    """Return how many bytes a download asks for at once, where readers of ranges may overtake it.

    They wait for what it has asked for, so a request should be over soon. ``overlaps``: the next is made before it is,
    and costs no time; otherwise each costs a round trip.
    """
    seconds = OVERLAPPING_SECONDS if overlaps else SINGLE_SECONDS
    return int(min(max(bytes_per_second * seconds, MAX_RANGE), MAX_SPAN))


def is_time_to_ask(read: int, left: int, bytes_per_second: float, answer_seconds: float) -> bool:
    """Tell whether to ask for what follows a request of which so many bytes are ``read`` and so many ``left``.

    Before half of it is here only where the answer, which may take twice as long as the last one, would come late.
    """
    return read >= left or left <= 2 * answer_seconds * bytes_per_second
