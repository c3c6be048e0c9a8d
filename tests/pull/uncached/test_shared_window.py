"""Many readers of what the disk does not keep: one transfer for all, as far as they keep together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import (
    BlobUnknown,
    Denied,
    RegistryError,
    StoreError,
    UpstreamCorrupt,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.prefix_hash import HashedPlace, PrefixHashes
from registry_cache.pull.source import BlobSource
from registry_cache.pull.uncached import shared_window as stream_module
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.pull.uncached.shared_streams import SharedStreams
from registry_cache.store.disk import ReadHandle
from tests.harness.pull_rig import SECONDS, Body, Script, Try
from tests.harness.store_rig import APP, HUB, OTHER
from tests.harness.waiting import eventually

DATA = bytes(range(256)) * 100
DIGEST = Digest.of(DATA)
SIZE = len(DATA)


class Registry:
    """An upstream that counts the bytes it ``gave``, and answers no request while ``open`` is not set."""

    def __init__(self, *tries: Try, chunk: int = 1000) -> None:
        self.script = Script(DATA, list(tries), chunk=chunk)
        self.gave = 0
        self.open = threading.Event()
        self.open.set()

    def source(self, repository: Repository = APP) -> BlobSource:
        return BlobSource(FullName(HUB, repository), self._ask)

    def _ask(self, start: int, again: bool, stop: int | None = None) -> Body:
        assert self.open.wait(SECONDS)
        return Metered(self, self.script.open(start, again, stop))


class Metered(Body):
    def __init__(self, registry: Registry, body: Body) -> None:
        super().__init__(b"", body.start, body.size, 1, closed=body.close)
        self._registry = registry
        self._chunks = body

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._registry.gave += len(chunk)
            yield chunk


class Client(threading.Thread):
    """Reads a blob to its end, in a thread of its own; ``got`` so far."""

    def __init__(self, blob: UncachedBlob, start: int = 0, stop: int | None = None) -> None:
        super().__init__(daemon=True)
        self._blob, self._chunks = blob, blob.parts(start, stop)
        self.got = b""
        self.cut: RegistryError | None = None

    def step(self) -> Client:
        """Read one piece, here and now."""
        self.got += next(self._chunks, b"")
        return self

    def run(self) -> None:
        try:
            for piece in self._chunks:
                self.got += piece
        except Cut as cut:
            self.cut = cut.error
        self._blob.close()

    def finish(self) -> bytes:
        """Read the rest; the bytes of all."""
        if self.ident is None:
            self.run()
            return self.got
        self.join(SECONDS)
        assert not self.is_alive()
        return self.got


def nothing() -> None:
    """What there is to prove for whoever may have it."""


def join(
    streams: SharedStreams,
    registry: Registry,
    repository: Repository = APP,
    prove: Callable[[], None] = nothing,
    after: HashedPlace | None = None,
) -> UncachedBlob:
    return UncachedBlob(streams, DIGEST, registry.source(repository), prove, after=after)


def behind(at: int, data: bytes = DATA) -> HashedPlace:
    place = HashedPlace(DIGEST.hasher())
    place.add(data[:at])
    return place


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, readers part only where a test wants them to."""
    monkeypatch.setattr(stream_module, "SLOWER_TIMEOUT_SECONDS", SECONDS)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "SLOWER_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(stream_module, "_LOOK_SECONDS", 0.01)


def test_readers_who_come_in_time_share_one_transfer() -> None:
    registry, streams = Registry(), SharedStreams()
    blobs = [join(streams, registry), join(streams, registry), join(streams, registry, OTHER)]
    assert [blob.joined for blob in blobs] == [False, True, True]
    assert [Client(blob).finish() for blob in blobs[:2]] == [DATA] * 2
    # A range of it, too, and though it has ended.
    assert Client(join(streams, registry), 1000, 2000).finish() == DATA[1000:2000]
    assert Client(blobs[2], SIZE - 1).finish() == DATA[-1:]
    assert registry.script.starts == [0]
    # The last one has left: nothing is kept for nobody.
    again = join(streams, registry)
    assert not again.joined
    again.close()


def test_the_window_bounds_what_is_fetched_ahead_of_the_slowest() -> None:
    registry = Registry()
    client = Client(join(SharedStreams(window=4000), registry))
    while len(client.step().got) < SIZE:
        # The window, the piece that waits for room in it, and the byte that is withheld.
        assert registry.gave - len(client.got) <= 4000 + 1000 + 1
    client.finish()


def test_a_range_within_the_window_is_shared_and_one_before_it_begins_anew() -> None:
    registry, streams = Registry(), SharedStreams(window=4000)
    first = Client(join(streams, registry))
    while len(first.got) < 10_000:
        first.step()
    within, before = join(streams, registry), join(streams, registry)
    assert within.joined
    assert before.joined
    assert Client(before, 500, 600).finish() == DATA[500:600]
    assert registry.script.starts == [0, 0]
    range_ = Client(within, 12_000, 13_000)
    range_.start()
    assert first.finish() == DATA
    assert range_.finish() == DATA[12_000:13_000]
    assert registry.script.starts == [0, 0]


def test_one_slow_reader_does_not_hold_the_others_up(impatient: None) -> None:
    registry, streams = Registry(), SharedStreams(window=4000)
    slow = Client(join(streams, registry)).step()
    fast = [Client(join(streams, registry)) for _ in range(2)]
    while len(fast[1].got) < SIZE:
        for client in fast:
            client.step()
    assert [client.finish() for client in (slow, *fast)] == [DATA] * 3
    # It went on behind the one piece that it had.
    assert registry.script.starts == [0, 999]


def test_one_fast_reader_does_not_take_the_transfer_from_the_many(impatient: None) -> None:
    registry, streams = Registry(), SharedStreams(window=4000)
    slow = [Client(join(streams, registry)).step() for _ in range(2)]
    fast = Client(join(streams, registry))
    fast.start()
    assert fast.finish() == DATA
    start, own = registry.script.starts
    assert (start, own > 3000) == (0, True)
    # They are not told apart any more: each waits for the other, so both must read.
    for client in slow:
        client.start()
    assert [client.finish() for client in slow] == [DATA] * 2
    assert len(registry.script.starts) <= 3


def test_wrong_bytes_cut_everyone_but_who_had_left_before_them(impatient: None) -> None:
    registry, streams = Registry(Try(flip=SIZE - 1)), SharedStreams(window=4000)
    slow = Client(join(streams, registry)).step()
    fast = [Client(join(streams, registry)) for _ in range(2)]
    while len(fast[1].got) < SIZE - 1:
        for client in fast:
            client.step()
    assert [client.finish() for client in fast] == [DATA[:-1]] * 2
    assert [type(client.cut) for client in fast] == [UpstreamCorrupt] * 2
    assert slow.finish() == DATA
    assert slow.cut is None


def test_a_cut_is_mended_for_all_at_once() -> None:
    registry, streams = Registry(Try(cut=5000), Try(end=5000)), SharedStreams()
    blobs = [join(streams, registry) for _ in range(3)]
    assert [Client(blob).finish() for blob in blobs] == [DATA] * 3
    assert registry.script.starts == [0, 5000, 10_000]


def test_a_transfer_that_nobody_reads_ends() -> None:
    registry, streams = Registry(), SharedStreams(window=4000)
    blobs = [join(streams, registry) for _ in range(3)]
    for blob in blobs:
        blob.close()
        blob.close()
    eventually(lambda: not registry.script.open_bodies)
    assert registry.gave < SIZE
    assert Client(join(streams, registry)).finish() == DATA


def test_another_repository_proves_its_access_first() -> None:
    registry, streams = Registry(), SharedStreams()

    def refuse() -> None:
        raise Denied("not yours")

    mine = join(streams, registry, prove=refuse)
    with pytest.raises(Denied):
        join(streams, registry, OTHER, refuse)
    assert Client(join(streams, registry, prove=refuse)).finish() == DATA
    assert Client(mine).finish() == DATA
    assert registry.script.starts == [0]


@pytest.mark.parametrize("cut", [None, 5000])
def test_the_failure_of_one_repository_is_not_anothers(cut: int | None) -> None:
    gone = BlobUnknown("no such blob")
    tries = [Try(refuse=gone)] if cut is None else [Try(cut=cut), Try(refuse=gone)]
    theirs, ours, streams = Registry(*tries), Registry(), SharedStreams()
    theirs.open.clear()
    errors: list[RegistryError] = []

    def pull() -> None:
        try:
            blob = join(streams, theirs)
        except RegistryError as error:
            errors.append(error)
        else:
            client = Client(blob)
            client.finish()
            assert client.cut
            errors.append(client.cut)

    asking = threading.Thread(target=pull)
    asking.start()
    eventually(lambda: streams._streams)
    joined: list[bytes] = []
    ourselves = threading.Thread(target=lambda: joined.append(Client(join(streams, ours, OTHER)).finish()))
    ourselves.start()
    [stream] = streams._streams
    eventually(lambda: len(stream._readers) == 2)
    theirs.open.set()
    asking.join(SECONDS)
    ourselves.join(SECONDS)
    assert [type(error) for error in errors] == [BlobUnknown]
    assert joined == [DATA]


def test_who_has_a_part_from_the_disk_goes_on_behind_it_together() -> None:
    registry, streams = Registry(), SharedStreams()
    blobs = [join(streams, registry, after=behind(7777)) for _ in range(3)]
    # Who has less does not wait for that one, nor does it get bytes that begin too late.
    other = join(streams, registry, after=behind(100))
    assert [Client(blob, 7777).finish() for blob in blobs] == [DATA[7777:]] * 3
    assert Client(other, 100).finish() == DATA[100:]
    assert registry.script.starts == [7777, 100]


def test_a_part_that_was_wrong_never_becomes_a_whole() -> None:
    registry, streams = Registry(), SharedStreams()
    wrong = b"?" + DATA[1:]
    alone = Client(join(streams, registry, after=behind(5000, wrong)), 5000)
    assert len(alone.finish()) < SIZE - 5000
    assert isinstance(alone.cut, UpstreamCorrupt)

    whole = join(streams, registry)
    shared = Client(join(streams, registry, after=behind(5500, wrong)), 5500)
    assert len(shared.finish()) < SIZE - 5500
    assert isinstance(shared.cut, UpstreamCorrupt)
    assert Client(whole).finish() == DATA


def test_what_a_reader_has_been_sent_is_hashed_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "partial"
    path.write_bytes(DATA)
    file = ReadHandle.open(str(path))
    assert file is not None
    hashed = PrefixHashes(DIGEST)
    for at in (100, 5000, 5000, 70, 0):
        assert hashed.place(file, at).is_same(behind(at))
    with pytest.raises(StoreError):
        hashed.place(file, SIZE + 1)
    path.write_bytes(DATA[::-1])
    again = ReadHandle.open(str(path))
    assert again is not None
    assert hashed.place(again, 100).is_same(behind(100, DATA[::-1]))


def test_an_error_before_the_first_byte_is_everybodys() -> None:
    registry, streams = Registry(Try(refuse=UpstreamUnavailable("503"))), SharedStreams()
    with pytest.raises(UpstreamUnavailable):
        join(streams, registry)
    assert Client(join(streams, registry)).finish() == DATA


@given(
    st.integers(1, 9000),
    st.integers(1, 9000),
    st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
@settings(max_examples=25)
def test_readers_of_any_pace_and_range_get_right_bytes(
    chunk: int, window: int, ranges: list[tuple[int, int]], turns: Random
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "SLOWER_TIMEOUT_SECONDS", 0.002)
        patch.setattr(stream_module, "_LOOK_SECONDS", 0.001)
        registry, streams = Registry(chunk=max(chunk, 200)), SharedStreams(window)
        wanted = [(start, min(SIZE, start + length)) for start, length in ranges]
        clients = [Client(join(streams, registry), *each) for each in wanted]
        going = list(range(len(clients)))
        while going:
            now = turns.choice(going)
            before = len(clients[now].got)
            if len(clients[now].step().got) == before:
                going.remove(now)
        assert [client.finish() for client in clients] == [DATA[start:stop] for start, stop in wanted]
        eventually(lambda: not registry.script.open_bodies)
