"""Any faults in any order, over a real connection: the right bytes or a clear error, with one transfer at a time."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry_cache.errors import RegistryError, UpstreamCorrupt, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.source import BlobSource, RangeResponse, WantedBlob, source_of
from registry_cache.pull.transfer import progress as feeds
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.upstream.session import Timeouts
from tests.harness.content import APP as APP_NAME
from tests.harness.images import random_bytes
from tests.harness.journal import Exchange
from tests.harness.pull_rig import SECONDS, drain, hurry
from tests.harness.store_rig import APP, HUB_APP, Store, open_store
from tests.harness.targets import target_at
from tests.harness.upstream import FakeUpstream, bytes_reply
from tests.harness.upstream_rig import connect
from tests.harness.wire import Cut as Closed
from tests.harness.wire import Reply

DATA = random_bytes(40_000, "any faults")
# The read time-out: long for a loopback, short for a test.
SILENCE = 0.15
# No example takes longer, with all its stalls.
BOUND = 60.0


class Death(BaseException):
    """The leader's process was killed; nothing in it catches this."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request for the blob, or with the leader; ``at`` is an offset in the response."""

    kind: str
    at: int = 0


class Scripted(FakeUpstream):
    """Makes the faults of ``script``, one for each request for a blob, and then none."""

    def __init__(self) -> None:
        self.script: list[Fault] = []
        super().__init__()

    def _blob(self, exchange: Exchange, repository: str, digest: str) -> Reply:
        fault = self.script.pop(0) if self.script else Fault("none")
        if fault.kind == "status":
            return Reply(fault.at)
        if fault.kind == "drop":
            raise Closed
        self.faults = type(self.faults)()
        own = self.faults
        if fault.kind in ("cut", "reset"):
            own.cut_after, own.reset = fault.at, fault.kind == "reset"
        elif fault.kind == "stall":
            own.hold_at = self._start(exchange) + fault.at
        elif fault.kind == "truncate":
            own.length_lie = -fault.at
        elif fault.kind == "promise":
            own.length_lie = fault.at
        elif fault.kind == "corrupt":
            own.corrupt_at = fault.at
        elif fault.kind != "none":
            setattr(own, fault.kind, True)
        data = self.blob(repository, digest)
        assert data is not None
        return bytes_reply(data, [], exchange.headers.get("Range"), own)

    def _start(self, exchange: Exchange) -> int:
        asked = exchange.headers.get("Range") or "bytes=0-"
        return int(asked.removeprefix("bytes=").removesuffix("-"))


class Mortal:
    """A response whose reader dies after ``left`` bytes."""

    def __init__(self, body: RangeResponse, left: int) -> None:
        self._body = body
        self._left = left
        self.start, self.size, self.stop = body.start, body.size, body.stop

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            yield chunk[: self._left]
            self._left -= len(chunk)
            if self._left <= 0:
                raise Death

    def close(self) -> None:
        self._body.close()


@contextmanager
def world() -> Iterator[tuple[Scripted, Store]]:
    upstream = Scripted()
    try:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
            patched.setattr(feeds, "SHOW_WHOLE_SIZE", 0)
            hurry(patched)
            yield upstream, open_store(Path(folder))
    finally:
        upstream.faults.release()
        upstream.stop()
    assert not upstream.problems


offsets = st.integers(0, len(DATA) - 1)
faults = st.one_of(
    st.builds(Fault, st.sampled_from(["cut", "reset", "corrupt", "truncate", "promise", "kill"]), offsets),
    st.builds(Fault, st.just("status"), st.sampled_from([500, 502, 503, 504])),
    st.builds(Fault, st.sampled_from(["gzip", "no_range", "no_length", "drop"])),
    st.builds(Fault, st.just("stall"), st.integers(1, len(DATA) - 1)),
)


@settings(max_examples=40)
@given(script=st.lists(faults, max_size=6))
@example([Fault("corrupt", 7), Fault("corrupt", 8)])
@example([Fault("cut", 10), Fault("kill", 10), Fault("no_range"), Fault("cut", 30_000)])
@example([Fault("truncate", 1), Fault("truncate", len(DATA) - 1)])
@example([Fault("stall", 100), Fault("kill", 0), Fault("stall", 200)])
@example([Fault("gzip"), Fault("no_length"), Fault("cut", 0), Fault("drop")])
@example([Fault("status", 503)] * 6)
def test_any_faults_end_with_the_right_bytes_or_a_clear_error(script: list[Fault]) -> None:
    with world() as (upstream, store):
        digest = Digest.parse(upstream.add_blob(DATA, APP_NAME))
        # Crashes of the leader come between upstream's faults.
        lives = [Fault("none"), *(each for each in script if each.kind == "kill")]
        upstream.script = [each for each in script if each.kind != "kill"]
        began, errors = time.monotonic(), 0
        for number, life in enumerate([*lives, *[Fault("none")] * (len(script) + 1)]):
            doomed = number < len(lives) - 1
            # Each life is another worker, which knows nothing of the upstream's earlier failures.
            target = target_at(connect(upstream.url, timeouts=Timeouts(connect=5.0, read=SILENCE)), APP)
            registry = source_of(WantedBlob(target, digest))

            def ask(
                start: int,
                again: bool,
                stop: int | None = None,
                doomed: bool = doomed,
                life: Fault = life,
                registry: BlobSource = registry,
            ) -> RangeResponse:
                body = registry.open(start, again, stop)
                return Mortal(body, life.at) if doomed else body

            feed, problems = TransferProgress(digest), list[str]()
            readers = [threading.Thread(target=read, args=(feed, at, problems), daemon=True) for at in (0, 12_345)]
            for each in readers:
                each.start()
            try:
                Transfer(feed, BlobSource(HUB_APP, ask), TransferParts(store.blobs, store.partials)).run(lambda: True)
            except Death:
                # The killed process' own clients see their connections end.
                feed.fail(UpstreamUnavailable("killed"), None)
            for each in readers:
                each.join(SECONDS)
                assert not each.is_alive()
            assert problems == []
            assert not store.wrong_blobs()
            if feed.committed:
                break
            errors += 1
        assert feed.committed, "not even when nothing was wrong any more"
        assert errors <= len(script)
        assert drain(feed) == DATA
        assert store.blobs.open_any(digest)
        assert upstream.peak_in_flight(str(digest)) == 1
        assert time.monotonic() - began < BOUND
        assert store.files("partial") == set()


def read(feed: TransferProgress, start: int, problems: list[str]) -> None:
    """Read from ``start`` on as a client: the bytes must be right, and complete only after the commit."""
    try:
        feed.wait_for_answer()
        got, error = drain(feed, start), None
        if got != DATA[start:] or not feed.committed:
            problems.append(f"{start}: {len(got)} bytes, committed: {feed.committed}")
    except Cut as cut:
        got, error = cut.args[1] if len(cut.args) > 1 else b"", cut.error
        if got == DATA[start:] and not feed.committed:
            problems.append(f"{start}: everything, and then a cut")
    except RegistryError as refused:
        error = refused
    if error and not isinstance(error, UpstreamUnavailable | UpstreamTimeout | UpstreamCorrupt):
        problems.append(f"{start}: {error!r}")
