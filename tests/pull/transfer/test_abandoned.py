"""Downloads whose readers have left go on, but not without number; one that is ended leaves its bytes to the next."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from registry_cache.errors import TooManyRequests
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer import transfers as transfers_module
from registry_cache.pull.transfer.abandoned import MAX_PER_CLIENT, MAX_PER_UPSTREAM, Abandoned, choose_to_end
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from tests.harness.images import random_bytes
from tests.harness.pull_rig import SECONDS, Body, drain
from tests.harness.store_rig import HUB_APP, Store
from tests.harness.waiting import eventually

SIZE = 200_000
GUESSER, OTHER = "192.0.2.1", "192.0.2.2"


def left(number: int, client: str = "c", upstream: str = "u", size: int = 0) -> Abandoned:
    return Abandoned(Digest.of(b"%d" % number), upstream, client, size, began=number)


@pytest.mark.parametrize(
    ("abandoned", "expected"),
    [
        ([], None),
        ([left(n) for n in range(MAX_PER_CLIENT)], None),
        ([left(n) for n in range(MAX_PER_CLIENT + 1)], 0),  # the oldest of equal ones
        ([left(n, size=100 - n) for n in range(MAX_PER_CLIENT + 1)], MAX_PER_CLIENT),  # the one with the fewest bytes
        ([left(n, client=str(n)) for n in range(MAX_PER_UPSTREAM)], None),
        ([left(n, client=str(n)) for n in range(MAX_PER_UPSTREAM + 1)], 0),
        ([left(n, client=str(n), upstream=f"u{n % 2}") for n in range(2 * MAX_PER_UPSTREAM)], None),
        # Of the client that has too many, although others have fewer bytes.
        ([left(99, client="other"), *(left(n, size=50) for n in range(MAX_PER_CLIENT + 1))], 0),
        ([left(n, client="") for n in range(MAX_PER_CLIENT + 1)], None),  # nobody's: only the upstream's bound holds
    ],
)
def test_which_one_ends(abandoned: list[Abandoned], expected: int | None) -> None:
    chosen = choose_to_end(abandoned)
    assert (None if chosen is None else chosen.began) == expected


@dataclass
class HeldUpstream:
    """Sends half of each blob, and the rest when the test says so."""

    gate: threading.Event = field(default_factory=threading.Event)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    asked: list[tuple[Digest, int]] = field(default_factory=list)

    def add(self, number: int) -> Digest:
        data = random_bytes(SIZE, seed=number)
        self.blobs[Digest.of(data)] = data
        return Digest.of(data)

    def source(self, digest: Digest) -> BlobSource:
        def ask(start: int, again: bool = False, stop: int | None = None) -> Body:
            self.asked.append((digest, start))
            return _HeldBody(self, self.blobs[digest], start)

        return BlobSource(HUB_APP, ask)


class _HeldBody(Body):
    def __init__(self, upstream: HeldUpstream, data: bytes, start: int) -> None:
        super().__init__(data[start:], start, len(data), SIZE // 4)
        self._upstream = upstream

    def __iter__(self) -> Iterator[bytes]:
        for number, chunk in enumerate(super().__iter__()):
            if number == 2 and self.start == 0:
                assert self._upstream.gate.wait(SECONDS)
            yield chunk


@pytest.fixture
def upstream() -> Iterator[HeldUpstream]:
    upstream = HeldUpstream()
    yield upstream
    upstream.gate.set()


@pytest.fixture
def transfers(store: Store, upstream: HeldUpstream) -> Iterator[Transfers]:
    transfers = Transfers(TransferParts(store.blobs, store.partials))
    yield transfers
    upstream.gate.set()
    eventually(lambda: not transfers._running and not transfers._ending)


def read_half(transfers: Transfers, upstream: HeldUpstream, number: int, client: str) -> TransferProgress:
    digest = upstream.add(number)
    progress, started = transfers.join(digest, upstream.source(digest), client)
    assert started
    eventually(lambda: progress.available >= SIZE // 2 - 1)
    return progress


def test_a_client_that_leaves_many_leaves_a_few_running(transfers: Transfers, upstream: HeldUpstream) -> None:
    watched = read_half(transfers, upstream, 99, OTHER)
    begun = [read_half(transfers, upstream, number, GUESSER) for number in range(MAX_PER_CLIENT + 3)]
    for each in begun:
        transfers.leave(each)

    assert [each.is_given_up for each in begun] == [True] * 3 + [False] * MAX_PER_CLIENT
    upstream.gate.set()
    # Those that went on are whole, and so is the one that somebody reads.
    eventually(lambda: all(each.committed for each in begun[3:]))
    assert drain(watched) == upstream.blobs[watched.digest]
    transfers.leave(watched)
    assert all(each.error for each in begun[:3])


def test_the_next_reader_gets_the_bytes_that_came_and_only_asks_for_the_rest(
    transfers: Transfers, upstream: HeldUpstream, store: Store
) -> None:
    begun = [read_half(transfers, upstream, number, GUESSER) for number in range(MAX_PER_CLIENT + 1)]
    for each in begun:
        transfers.leave(each)
    ended = begun[0].digest

    progress, started = transfers.join(ended, upstream.source(ended), OTHER)
    assert started
    upstream.gate.set()
    assert drain(progress) == upstream.blobs[ended]
    transfers.leave(progress)
    starts = [start for digest, start in upstream.asked if digest == ended]
    assert starts[0] == 0
    assert starts[1] >= SIZE // 2
    assert len(starts) == 2


def test_one_that_is_read_again_is_not_abandoned(transfers: Transfers, upstream: HeldUpstream) -> None:
    first = read_half(transfers, upstream, 0, GUESSER)
    transfers.leave(first)
    again, started = transfers.join(first.digest, upstream.source(first.digest), OTHER)
    assert (again, started) == (first, False)
    for number in range(1, MAX_PER_CLIENT + 3):
        transfers.leave(read_half(transfers, upstream, number, GUESSER))
    assert not first.is_given_up
    upstream.gate.set()
    assert drain(again) == upstream.blobs[first.digest]
    transfers.leave(again)


def test_a_client_whose_downloads_do_not_end_gets_no_more(
    transfers: Transfers, upstream: HeldUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers_module, "MAX_ENDING_PER_CLIENT", 2)
    for number in range(MAX_PER_CLIENT + 2):
        transfers.leave(read_half(transfers, upstream, number, GUESSER))
    digest = upstream.add(1000)
    with pytest.raises(TooManyRequests):
        transfers.join(digest, upstream.source(digest), GUESSER)
    # Others do, and so does this one of what is under way.
    transfers.leave(read_half(transfers, upstream, 1001, OTHER))
