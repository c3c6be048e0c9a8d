"""An upstream without a network, and transfers without a process: for what no socket is needed to show."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import pytest

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.pull.blob_body import Cut, PulledBlob
from registry_cache.pull.source import BlobSource
from registry_cache.pull.target import TagPolicy
from registry_cache.pull.transfer import transfer as transfers
from registry_cache.pull.transfer.download import Download
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.runtime.single_flight import SingleFlight
from tests.harness.store_rig import APP, HUB, Store

SECONDS = 40.0
# Where a copy is to be served instead of waiting, a story says so: a machine that is busy must not.
ALWAYS_ASK = TagPolicy(timeout_seconds=SECONDS)

T = TypeVar("T")


class Body:
    """What one request brings: ``data`` in chunks, then ``error``, if any."""

    def __init__(
        self,
        data: bytes,
        start: int,
        size: int | None,
        chunk: int,
        error: BaseException | None = None,
        closed: Callable[[], object] = lambda: None,
        stop: int | None = None,
    ) -> None:
        self.start = start
        self.size = size
        self.stop = stop
        self._data = data
        self._chunk = chunk
        self._error = error
        self._closed = closed

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self._data), self._chunk):
            yield self._data[at : at + self._chunk]
        if self._error:
            raise self._error

    def close(self) -> None:
        self._closed()


@dataclass
class Try:
    """What goes wrong with one request; with nothing set, it brings everything.

    ``refuse``: no body at all. ``cut``: so many bytes, then ``error``. ``flip``: this byte of the blob is wrong.
    ``end``: as ``cut``, but ends as if that were all. ``lie`` is added to the size.
    """

    refuse: BaseException | None = None
    cut: int | None = None
    error: BaseException = field(default_factory=lambda: UpstreamUnavailable("cut"))
    flip: int | None = None
    end: int | None = None
    lie: int = 0
    sized: bool = True


@dataclass
class Script:
    """An upstream that holds ``data`` and does what ``tries`` say, one a request; then only what is right."""

    data: bytes
    tries: list[Try] = field(default_factory=list)
    chunk: int = 1000
    starts: list[int] = field(default_factory=list)
    open_bodies: int = 0
    peak: int = 0

    def source(self, repository: Repository = APP) -> BlobSource:
        return BlobSource(FullName(HUB, repository), self.open)

    def open(self, start: int, again: bool = False, stop: int | None = None) -> Body:
        self.starts.append(start)
        now = self.tries.pop(0) if self.tries else Try()
        if now.refuse:
            raise now.refuse
        data = bytearray(self.data)
        if now.flip is not None and now.flip < len(data):
            data[now.flip] ^= 0xFF
        rest = bytes(data[start:stop])
        error = None
        if now.cut is not None:
            rest, error = rest[: now.cut], now.error
        if now.end is not None:
            rest = rest[: now.end]
        size = max(0, len(self.data) + now.lie) if now.sized else None
        self.open_bodies += 1
        self.peak = max(self.peak, self.open_bodies)
        return Body(rest, start, size, self.chunk, error, self._closed, stop)

    def _closed(self) -> None:
        self.open_bodies -= 1


class Clock:
    """A time that passes when somebody pauses, or when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def hurry(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the pauses of every transfer pass at once."""
    clock = Clock()
    monkeypatch.setattr(transfers, "Download", partial(Download, clock=clock, pause=clock.pause))
    return clock


def transfer(
    store: Store, script: Script, repository: Repository = APP, feed: TransferProgress | None = None
) -> TransferProgress:
    """Run one to its end; returns its feed."""
    feed = feed or TransferProgress(Digest.of(script.data))
    Transfer(feed, script.source(repository), TransferParts(store.blobs, store.partials)).run(lambda: True)
    return feed


def drain(feed: TransferProgress, start: int = 0, stop: int | None = None, length: int = 7000) -> bytes:
    """What a reader gets of the bytes from ``start`` to ``stop``; raises Cut with ``args[1]``, what came before it."""
    file, got = None, bytearray()
    while stop is None or start + len(got) < stop:
        wanted = length if stop is None else min(length, stop - start - len(got))
        try:
            file, chunk = feed.read(file, start + len(got), wanted)
        except Cut as cut:
            cut.args = (*cut.args, bytes(got))
            raise
        if not chunk:
            break
        got += chunk
    return bytes(got)


def chunks(body: PulledBlob, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a body, as a client without sendfile has them."""
    for part in body.parts(start, stop, from_file=False):
        assert isinstance(part, bytes)
        yield part


class Question(Generic[T]):
    """Work that is held until the test lets it go on, and counts how often it was done."""

    def __init__(self, outcome: T | BaseException) -> None:
        self.outcome = outcome
        self.asked = 0
        self.begun = threading.Event()
        self.gate = threading.Event()

    def __call__(self) -> T:
        self.asked += 1
        self.begun.set()
        assert self.gate.wait(SECONDS)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def flying(flights: SingleFlight[Any, Any], key: str) -> int:
    """How many threads wait for another's flight in this process."""
    flight = flights._flights.get(key)
    return len(flight._done._cond._waiters) if flight else 0  # type: ignore[attr-defined]


def holding(pid: int, path: str) -> int:
    """How many times a process has this file open."""
    found, folder = 0, f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"{folder}/{name}") == path
    return found
