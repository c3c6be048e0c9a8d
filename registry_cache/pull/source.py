"""Where a blob comes from, and how often it is asked. Knows neither disk nor readers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from registry_cache.errors import UpstreamError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.target import PullTarget

# Tries in a row that bring not a single byte. With the pauses below they end in under ten seconds where upstream
# refuses at once; where it is silent, ``RETRY_TIMEOUT_SECONDS`` ends them.
MAX_FRUITLESS = 5
# All tries of one download: a connection that is cut after every byte must end too.
MAX_TRIES = 100
# Without a new byte for so long no further try is made.
RETRY_TIMEOUT_SECONDS = 8.0

_FIRST_PAUSE, _LAST_PAUSE = 0.1, 3.0

# A reader gives up when nothing moves for this long. A leader may be silent for a stall, pause and try again, but it is
# bounded itself; only one that was stopped (SIGSTOP, a hung disk) takes longer.
STALL_TIMEOUT_SECONDS = 90.0


class BlobStream(Protocol):
    """A blob on its way: bytes from ``start`` on, and the whole's size in bytes if upstream says it."""

    start: int
    size: int | None

    def __iter__(self) -> Iterator[bytes]: ...
    def close(self) -> None: ...


class RangeResponse(BlobStream, Protocol):
    """The body of one request. It ends at byte ``stop``, not included; None where it goes on to the blob's end."""

    stop: int | None


class AskForRange(Protocol):
    """How a request is made."""

    def __call__(self, start: int, again: bool, stop: int | None = None) -> RangeResponse:
        """Ask for the bytes from ``start`` up to, not including, ``stop``; None: to the end.

        ``again`` for a further try of one download: a breaker that the first tries opened must not end it.
        """


@dataclass(frozen=True, slots=True)
class BlobSource:
    """Where a blob comes from: ``open`` asks upstream.

    ``requests``: so many at once at most. ``expected``: what a manifest of the repository says of the size in bytes,
    None where none does; a hint and no more. ``inside_error``: once bytes came from a network that clients may not see,
    the error that hides which; nothing of them is for clients then before it is proven. ``is_guess``: the bytes came
    encoded, and only the digest will tell whether they are read as they should be; ``is_blind``: and nothing makes that
    likely, so nothing of them is for clients before. ``can_be_overtaken``: its download
    begins because somebody reads ranges, who may fetch some of the blob ahead of it.

    Sources compose by wrapping. One that is nearer than upstream also tells: ``was_near``, whether it and not upstream
    gave the first answer; ``on_wrong``, called when all bytes were there and wrong, with whether all of them came from
    this source, returns whether upstream may be to blame; ``on_commit``, called when the blob is here and the
    repository known to contain it. ``is_for_peer``: another node wants it from us; then we ask no other one while Redis
    is away.
    """

    owner: FullName
    open: AskForRange
    requests: int = 1
    expected: Callable[[], int | None] = lambda: None
    inside_error: Callable[[], UpstreamError | None] = lambda: None
    is_guess: Callable[[], bool] = lambda: False
    is_blind: Callable[[], bool] = lambda: False
    was_near: Callable[[], bool] = lambda: False
    on_wrong: Callable[[bool], bool] = lambda came_from_here: True
    on_commit: Callable[[], None] = lambda: None
    can_be_overtaken: bool = False
    is_for_peer: bool = False


class WatchedBody:
    """A RangeResponse that calls ``watch`` with the size of each chunk before it is given away; an error ends it."""

    def __init__(self, body: RangeResponse, watch: Callable[[int], None]) -> None:
        self.start, self.size, self.stop = body.start, body.size, body.stop
        self.close = body.close
        self._body = body
        self._watch = watch

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._watch(len(chunk))
            yield chunk


@dataclass(frozen=True, slots=True)
class WantedBlob:
    """A blob of the target; ``layers`` know what size to expect.

    ``is_stored``: the bytes are for the disk, which keeps them from clients until they are proven. ``is_for_parts``:
    each request is for a part that somebody wants, and nothing behind it is.
    """

    target: PullTarget
    digest: Digest
    layers: Layers | None = None
    is_stored: bool = False
    is_for_parts: bool = False


# Returns where a blob comes from.
SourceOf: TypeAlias = Callable[[WantedBlob], BlobSource]


def source_of(wanted: WantedBlob) -> BlobSource:
    """Return the target's upstream as the source of a blob."""
    target, digest, layers = wanted.target, wanted.digest, wanted.layers
    inside: list[UpstreamError] = []
    guess: tuple[bool, bool] = (False, False)

    def ask(start: int, again: bool, stop: int | None = None) -> RangeResponse:
        nonlocal guess
        body = target.upstream.open_blob(target.name.repository, digest, start, stop, is_retry=again, expected=expected)
        guess = body.is_guess, body.is_blind
        if body.is_inside:
            inside[:] = [target.upstream.transport.inside_error(f"the blob {digest} of {target.name.repository}")]
            if not wanted.is_stored:
                body.close()
                raise inside[0]
        return body

    def wrong(came_from_here: bool) -> bool:
        target.upstream.record_wrong_blob(target.name.repository, digest)
        return True

    def expected() -> int | None:
        return layers.size(target, digest) if layers else None

    return BlobSource(
        target.name,
        ask,
        target.upstream.blob_requests,
        expected,
        lambda: next(iter(inside), None),
        lambda: guess[0],
        lambda: guess[1],
        on_wrong=wrong,
    )


@dataclass(slots=True)
class Tries:
    """Decides whether to go on; each try either brought bytes or did not."""

    clock: Callable[[], float]
    pause: Callable[[float], None]
    made: int = 0
    fruitless: int = 0
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = self.clock()

    def progressed(self) -> None:
        self.fruitless = 0
        self.since = self.clock()

    def pause_or_raise(self, error: UpstreamError) -> None:
        """Return after a pause; raise ``error`` where it has been enough."""
        self.made += 1
        self.fruitless += 1
        wait = min(_LAST_PAUSE, _FIRST_PAUSE * 3 ** (self.fruitless - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 — jitter
        spent = self.clock() - self.since
        # A further try may take as long as those before it: five seconds each, where connections are not even refused.
        out_of_time = spent + wait + spent / self.fruitless > RETRY_TIMEOUT_SECONDS
        if self.fruitless >= MAX_FRUITLESS or self.made >= MAX_TRIES or out_of_time:
            raise error
        self.pause(wait)
