"""Any body, chunks, cuts, corruption and crashes: the blob is committed and right, or absent; no reader is misled."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry_cache.errors import UpstreamCorrupt, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.transfer import progress as feeds
from registry_cache.pull.transfer.download import Download
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.store.disk import ReadHandle
from registry_cache.store.partial_downloads import Partial
from tests.harness.pull_rig import SECONDS, Clock, Script, Try, drain, hurry, transfer
from tests.harness.store_rig import HUB_APP, Store, descriptors, open_store


class Death(BaseException):
    """The leader's process was killed; nothing in it catches this."""


@contextmanager
def a_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield open_store(Path(folder))


sizes = st.one_of(st.integers(0, 40), st.integers(0, 3000))
numbers = st.integers(0, 3000)
faults = st.one_of(
    st.builds(Try, cut=numbers),
    st.builds(Try, cut=numbers, error=st.builds(UpstreamTimeout, st.just("silent"))),
    st.builds(Try, cut=numbers, error=st.builds(Death)),
    st.builds(Try, refuse=st.builds(UpstreamUnavailable, st.just("503"), retry_after=st.just(1.0))),
    st.builds(Try, refuse=st.builds(Death)),
    st.builds(Try, flip=numbers),
    st.builds(Try, flip=numbers, cut=numbers),
    st.builds(Try, end=numbers),
    st.builds(Try, end=numbers, sized=st.just(False)),
    st.builds(Try, lie=st.integers(-50, 50)),
    st.builds(Try, sized=st.just(False)),
)


@settings(max_examples=150)
@given(
    size=sizes,
    seed=st.integers(0, 255),
    chunk=st.integers(1, 1500),
    tries=st.lists(faults, max_size=12),
    wide=st.booleans(),
)
@example(size=0, seed=0, chunk=1, tries=[Try(end=0), Try(sized=False)], wide=False)
@example(size=1, seed=0, chunk=1, tries=[Try(flip=0)], wide=True)
@example(size=50, seed=0, chunk=7, tries=[Try(cut=20, error=Death()), Try(flip=30)], wide=False)
def test_a_download_ends_committed_and_right_or_absent(
    size: int, seed: int, chunk: int, tries: list[Try], wide: bool
) -> None:
    data = bytes((seed + 7 * at + at // 256) % 256 for at in range(size))
    digest = Digest.of(data, "sha512" if wide else "sha256")
    script, before = Script(data, list(tries), chunk=chunk), descriptors()
    with a_store() as store:
        for life in range(len(tries) + 1):
            died = ended = False
            watch, clock = Watch(store, digest), Clock()
            claim = store.partials.claim(digest)
            assert claim is not None
            with claim:
                try:
                    Download(digest, script.source(), watch, clock, clock.pause).run(claim.partial)
                    ended = True
                except Death:
                    died = True
                except (UpstreamCorrupt, UpstreamUnavailable, UpstreamTimeout):
                    pass
            assert not store.wrong_blobs()
            assert (store.blobs.open_any(digest) is not None) is ended
            assert script.open_bodies == 0
            if ended:
                break
            assert died or life < len(tries)
        # Once upstream has no faults left, and only then, the blob is certain to come.
        assert ended or not script.tries
        if not ended:
            claim = store.partials.claim(digest)
            assert claim is not None
            with claim:
                Download(digest, script.source(), Watch(store, digest), Clock(), lambda _: None).run(claim.partial)
        blob = store.blobs.open_any(digest)
        assert blob is not None
        assert blob.file.read_at(0, size + 1) == data
        assert script.peak <= 1
        assert store.files("partial") == store.files("locks") == set()
        del blob, watch
    assert not descriptors() - before


class Watch:
    """Checks after every append that the partial only grows. Keeps no handle."""

    def __init__(self, store: Store, digest: Digest) -> None:
        self.store = store
        self.digest = digest
        self.seen = 0

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        found = self.store.partials.open(self.digest)
        assert found is not None
        assert found.size() == partial.size >= self.seen
        assert not self.store.blobs.open_any(self.digest)
        self.seen = partial.size

    def on_verified(self, partial: Partial) -> None:
        assert partial.digest() == self.digest

    def on_wrong(self) -> bool:
        return True

    def on_restart(self) -> bool:
        self.seen = 0
        return False


@settings(max_examples=40)
@given(
    size=st.integers(0, 4000),
    chunk=st.integers(1, 1500),
    tries=st.lists(st.builds(Try, cut=st.integers(1, 3000)), max_size=4),
    ranges=st.lists(st.tuples(st.integers(0, 4500), st.integers(0, 4500), st.integers(1, 5000)), max_size=6),
    wrong=st.booleans(),
)
def test_any_readers_of_a_transfer_see_the_right_bytes_and_the_last_after_the_commit(
    size: int, chunk: int, tries: list[Try], ranges: list[tuple[int, int, int]], wrong: bool
) -> None:
    data = bytes((at * 31 + at // 256) % 256 for at in range(size))
    script = Script(data, list(tries), chunk=chunk)
    wrong = wrong and size > 0
    if wrong:
        script.tries = [replace(each, flip=size - 1) for each in [*tries, *tries, *[Try()] * 8]]
    with a_store() as store, pytest.MonkeyPatch.context() as patched:
        patched.setattr(feeds, "SHOW_WHOLE_SIZE", 0)
        hurry(patched)
        feed = TransferProgress(Digest.of(data))
        problems: list[str] = []

        def read(start: int, stop: int | None, length: int) -> None:
            try:
                got = drain(feed, start, stop, length)
                if got != data[start:stop]:
                    problems.append(f"{start}-{stop}: {len(got)} bytes")
                if start != stop and (stop is None or stop >= size) and not feed.committed:
                    problems.append(f"{start}-{stop}: whole before the commit")
            except Cut as cut:
                if not wrong or cut.args[1] != data[start : start + len(cut.args[1])]:
                    problems.append(f"{start}-{stop}: {cut}")
                if start + len(cut.args[1]) >= size > start:
                    problems.append(f"{start}-{stop}: the last byte of something wrong")

        readers = [
            threading.Thread(target=read, args=(start, None if start > stop else stop, length), daemon=True)
            for start, stop, length in ranges
        ]
        for each in readers:
            each.start()
        transfer(store, script, feed=feed)
        for each in readers:
            each.join(SECONDS)
            assert not each.is_alive()
        assert problems == []
        assert feed.committed is not wrong
        if feed.committed:
            store.blobs.grant(HUB_APP, feed.digest)
            assert store.read(feed.digest) == data


@settings(max_examples=100)
@given(
    growth=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    offsets=st.lists(st.integers(0, 300), min_size=1, max_size=8),
    length=st.integers(1, 60),
    known=st.booleans(),
)
def test_a_feed_shows_a_prefix_and_never_the_last_byte_of_what_is_there(
    growth: list[int], offsets: list[int], length: int, known: bool
) -> None:
    data = bytes(at % 251 for at in range(sum(growth)))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(feeds, "SHOW_WHOLE_SIZE", 0)
        path = Path(folder, "partial")
        path.touch()
        handle = ReadHandle.open(str(path))
        assert handle is not None
        feed, at = TransferProgress(Digest.of(data)), 0
        feed.answer((HUB_APP), len(data) if known else None, handle)
        for more in growth:
            with path.open("ab") as file:
                file.write(data[at : at + more])
            at += more
            feed.advance(at)
            for offset in offsets:
                # Reading further would wait.
                if offset < at - 1:
                    file_now, got = feed.read(None, offset, length)
                    assert file_now is handle
                    assert got == data[offset : min(offset + length, at - 1)]
        feed.commit(handle, at)
        for offset in offsets:
            assert feed.read(handle, offset, length)[1] == data[offset : offset + length]
            assert drain(feed, min(offset, at)) == data[offset:]
