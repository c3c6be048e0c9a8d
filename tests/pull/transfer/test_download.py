"""One download over a real connection to an upstream that errs ends committed and right, or with an honest error."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from registry_cache.errors import (
    BlobUnknown,
    Denied,
    NotFound,
    RegistryError,
    StoreFull,
    TooManyRequests,
    UpstreamCorrupt,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import MAX_FRUITLESS, MAX_TRIES, RETRY_TIMEOUT_SECONDS, BlobSource, RangeResponse
from registry_cache.pull.transfer.download import MIN_BYTES_PER_SECOND, SPEED_WINDOW_SECONDS, Download
from registry_cache.store.partial_downloads import Partial
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.session import TLS, Timeouts
from tests.harness.cdn import FakeCdn
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import random_bytes
from tests.harness.pull_rig import Body, Clock, Script, Try
from tests.harness.store_rig import APP, HUB_APP, Store, descriptors
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

DATA = random_bytes(300_000, seed=3)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)


class Seen:
    """An observer that remembers sizes and restarts."""

    def __init__(self) -> None:
        self.sizes: list[int | None] = []
        self.restarts = 0

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        if not self.sizes or self.sizes[-1] != size:
            self.sizes.append(size)

    def on_verified(self, partial: Partial) -> None:
        pass

    def on_wrong(self) -> bool:
        return True

    def on_restart(self) -> bool:
        self.restarts += 1
        return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(upstream: FakeUpstream) -> Upstream:
    upstream.add_blob(DATA)
    return connect(upstream.url)


def source(registry: Upstream, digest: Digest = DIGEST) -> BlobSource:
    def ask(start: int, again: bool, stop: int | None = None) -> RangeResponse:
        return registry.open_blob(APP, digest, start, stop, is_retry=again)

    return BlobSource(HUB_APP, ask)


def fetch(store: Store, clock: Clock, from_: BlobSource, digest: Digest = DIGEST) -> Seen:
    """Run a download to its end; nothing wrong may be readable afterwards, whatever that end is."""
    seen, claim = Seen(), store.partials.claim(digest)
    assert claim is not None
    before = descriptors()
    try:
        with claim:
            Download(digest, from_, seen, clock, clock.pause).run(claim.partial)
    finally:
        assert not store.wrong_blobs()
        assert not [each for each in descriptors() - before if "partial" in each]
    assert store.blobs.open_any(digest)
    return seen


def left_behind(store: Store, data: bytes, digest: Digest = DIGEST) -> None:
    """What a dead leader wrote."""
    Path(store.layout.partial(digest)).write_bytes(data)


def ranges(upstream: FakeUpstream) -> list[str | None]:
    return [each.headers.get("Range") for each in upstream.requests("GET", "/blobs/")]


def test_nothing_goes_wrong(upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock) -> None:
    seen = fetch(store, clock, source(registry))
    assert (seen.sizes, seen.restarts, clock.pauses) == ([len(DATA)], 0, [])
    assert upstream.gets(NAME) == 1
    assert upstream.bytes_sent(NAME) == len(DATA)


CUTS = [[0], [1], [len(DATA) - 1], [100_000], [1, 1, 1, 1, 1], [0, 0, 0], [50_000] * 5, [0, 10, 0, 0, 10, 0, 0, 0, 10]]
CUTS += [[20_000] * 14]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_cuts_are_mended_behind_the_last_byte(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, cuts: list[int], reset: bool
) -> None:
    upstream.faults.cut_after, upstream.faults.reset = list(cuts), reset
    fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == len(cuts) + 1
    # With a reset, what was under way is lost, and may have to come again.
    if not reset:
        assert upstream.bytes_sent(NAME) == len(DATA)
        assert ranges(upstream) == [f"bytes={at}-" if at else None for at in accumulate(cuts, initial=0)]
    assert upstream.peak_in_flight(NAME) == 1


def test_cuts_without_any_byte_end(upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock) -> None:
    upstream.faults.cut_after = 0
    with pytest.raises(UpstreamUnavailable):
        fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == MAX_FRUITLESS


def test_cuts_after_every_byte_end(store: Store, clock: Clock) -> None:
    script = Script(DATA, [Try(cut=1) for _ in range(1000)])
    with pytest.raises(UpstreamUnavailable):
        fetch(store, clock, script.source())
    assert len(script.starts) == MAX_TRIES
    upstream_is_well = Script(DATA)
    fetch(store, clock, upstream_is_well.source())
    assert upstream_is_well.starts == [MAX_TRIES]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_5xx_before_the_first_byte_is_asked_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, status: int
) -> None:
    upstream.faults.answer("GET .*/blobs/", status, times=2, Retry_After="1")
    fetch(store, clock, source(registry))
    assert len(clock.pauses) == 2
    assert upstream.bytes_sent(NAME) == len(DATA)


def test_5xx_for_ever_is_an_error_that_says_when_to_come_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.answer("GET .*/blobs/", 503, Retry_After="7")
    with pytest.raises(UpstreamUnavailable) as error:
        fetch(store, clock, source(registry))
    assert error.value.retry_after == 7
    assert sum(clock.pauses) <= RETRY_TIMEOUT_SECONDS
    assert len(upstream.requests("GET")) == MAX_FRUITLESS


def test_a_connection_without_a_word_is_tried_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.drop = "GET .*/blobs/"
    with pytest.raises(UpstreamUnavailable):
        fetch(store, clock, source(registry))
    upstream.faults.drop = None
    fetch(store, clock, source(connect(upstream.url)))


def test_an_upstream_that_is_away_is_an_error(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.stop()
    with pytest.raises(UpstreamUnavailable, match="refused"):
        fetch(store, clock, source(registry))


REFUSALS: list[tuple[int, type[RegistryError]]] = [
    (404, BlobUnknown),
    (403, Denied),
    (401, Denied),
    (429, TooManyRequests),
    (400, UpstreamError),
]


@pytest.mark.parametrize(("status", "kind"), REFUSALS)
def test_no_is_no_and_is_not_asked_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, status: int, kind: type[RegistryError]
) -> None:
    upstream.faults.answer("GET .*/blobs/", status, Retry_After="7")
    with pytest.raises(kind) as error:
        fetch(store, clock, source(registry))
    assert type(error.value) is kind
    assert (len(upstream.requests("GET")), clock.pauses) == (1, [])
    assert (error.value.retry_after is not None) is (status == 429)


def test_a_blob_that_is_gone_in_mid_body_is_unknown(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.cut_after = [1000]
    from_ = source(registry)

    def open_(start: int, again: bool, stop: int | None = None) -> RangeResponse:
        if start:
            upstream.remove_blob(NAME)
        return from_.open(start, again)

    with pytest.raises(NotFound):
        fetch(store, clock, BlobSource(HUB_APP, open_))


def test_a_range_that_is_ignored_costs_the_bytes_again_and_nothing_else(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.no_range, upstream.faults.cut_after = True, [100_000, 200_000]
    fetch(store, clock, source(registry))
    assert ranges(upstream) == [None, "bytes=100000-", "bytes=200000-"]
    assert upstream.bytes_sent(NAME) == 100_000 + 200_000 + len(DATA)


def test_another_range_than_asked_for_is_never_appended_but_the_whole_is_asked_for(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    left_behind(store, DATA[:1000])
    upstream.faults.answer("GET .*/blobs/", 206, DATA[5:], times=1, Content_Range="bytes 5-299999/300000")
    fetch(store, clock, source(registry))
    assert ranges(upstream) == ["bytes=1000-", None]


@pytest.mark.parametrize("lie", [1, 5000])
@pytest.mark.parametrize("no_range", [False, True])
def test_a_length_that_promises_too_much_does_not_matter(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, lie: int, no_range: bool
) -> None:
    upstream.faults.length_lie, upstream.faults.no_range = lie, no_range
    fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == 1


def test_a_length_that_promises_too_little_is_corrupt(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.length_lie = -1
    with pytest.raises(UpstreamCorrupt):
        fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == 2
    upstream.faults.length_lie = 0
    fetch(store, clock, source(registry))


def test_no_length_at_all(upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock) -> None:
    upstream.faults.no_length = True
    assert fetch(store, clock, source(registry)).sizes == [None]


@pytest.mark.parametrize("cuts", [[100_000], [1, 0, 299_000]], ids=str)
def test_a_chunked_body_that_is_cut_is_mended(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, cuts: list[int]
) -> None:
    upstream.faults.no_length, upstream.faults.cut_after = True, list(cuts)
    fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == len(cuts) + 1


def test_an_encoding_that_nobody_asked_for_is_corrupt_not_unpacked(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.gzip = True
    with pytest.raises(UpstreamCorrupt):
        fetch(store, clock, source(registry))
    assert all(each.headers["Accept-Encoding"] == "identity" for each in upstream.requests("GET"))


@pytest.mark.parametrize("at", [0, 150_000, len(DATA) - 1])
def test_wrong_bytes_once_are_fetched_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, at: int
) -> None:
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = at, 1
    assert fetch(store, clock, source(registry)).restarts == 1
    assert upstream.gets(NAME) == 2


def test_wrong_bytes_for_ever_are_corrupt_and_leave_nothing(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    upstream.faults.corrupt_at = 7
    with pytest.raises(UpstreamCorrupt) as error:
        fetch(store, clock, source(registry))
    assert isinstance(error.value.detail, dict)
    assert error.value.detail["wanted"] == NAME
    assert upstream.gets(NAME) == 2
    assert store.files("partial") == store.files("blobs") == set()


def test_trouble_after_wrong_bytes_is_mended_too(store: Store, clock: Clock) -> None:
    """The time without a new byte counts from the last byte, not from the beginning."""
    script = Script(DATA, [Try(flip=0), Try(refuse=UpstreamUnavailable("503"))])

    def slowly(start: int, again: bool, stop: int | None = None) -> Body:
        clock.now += 0 if script.starts else 60
        return script.open(start, again)

    fetch(store, clock, BlobSource(HUB_APP, slowly))
    assert script.starts == [0, 0, 0]


@pytest.mark.parametrize("left", [1, 150_000, len(DATA) - 1])
def test_what_a_dead_leader_left_is_gone_on_with(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, left: int
) -> None:
    left_behind(store, DATA[:left])
    assert fetch(store, clock, source(registry)).restarts == 0
    assert ranges(upstream) == [f"bytes={left}-"]
    assert upstream.bytes_sent(NAME) == len(DATA) - left


def test_a_whole_partial_is_asked_for_and_committed(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    left_behind(store, DATA)
    assert fetch(store, clock, source(registry)).restarts == 0
    assert [each.status for each in upstream.requests("GET")] == [416]


def test_a_whole_partial_is_not_committed_for_who_may_not_have_it(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock
) -> None:
    left_behind(store, DATA)
    upstream.faults.answer("GET .*/blobs/", 404)
    with pytest.raises(BlobUnknown):
        fetch(store, clock, source(registry))
    assert store.files("blobs") == set()


@pytest.mark.parametrize("wrong", [b"?" * 10, b"?" * len(DATA), DATA + b"?", b"?" * (len(DATA) + 10)])
def test_wrong_bytes_that_a_dead_leader_left_do_not_count_against_this_upstream(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, wrong: bytes
) -> None:
    left_behind(store, wrong)
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 5, 1
    assert fetch(store, clock, source(registry)).restarts == 2


def test_a_stall_is_bounded_and_mended(upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock) -> None:
    upstream.faults.hold_at = 100_000
    # So long that a busy machine does not look like a stall; after the one that is meant, there is time.
    impatient = source(connect(upstream.url, timeouts=Timeouts(connect=5, read=2)))

    def open_(start: int, again: bool, stop: int | None = None) -> RangeResponse:
        if start:
            upstream.faults.gate.set()
            return source(registry).open(start, again)
        return impatient.open(start, again)

    fetch(store, clock, BlobSource(HUB_APP, open_))
    assert ranges(upstream) == [None, "bytes=100000-"]


def test_silence_for_ever_is_a_timeout(upstream: FakeUpstream, store: Store, clock: Clock) -> None:
    upstream.add_blob(DATA)
    upstream.faults.hold_at = 0
    with pytest.raises(UpstreamTimeout):
        fetch(store, clock, source(connect(upstream.url, timeouts=Timeouts(connect=5, read=0.05))))


def test_a_trickle_is_dropped_and_resumed(store: Store, clock: Clock) -> None:
    script = Script(DATA, chunk=100)

    class Trickle(Body):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for chunk in super().__iter__():
                # A tenth of the least speed; a healthy connection is faster than any clock.
                clock.now += 1000 / MIN_BYTES_PER_SECOND if len(script.starts) == 1 else 0
                yield chunk

    def open_(start: int, again: bool, stop: int | None = None) -> Body:
        body = script.open(start, again)
        return Trickle(DATA[start:], start, len(DATA), 100, None, body.close)

    fetch(store, clock, BlobSource(HUB_APP, open_))
    assert len(script.starts) == 2
    assert 0 < script.starts[1] <= 100 * (SPEED_WINDOW_SECONDS * MIN_BYTES_PER_SECOND / 1000 + 2)
    assert script.open_bodies == 0


def test_a_presigned_address_is_good_once_so_the_registry_is_asked_each_time(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, cdn: FakeCdn
) -> None:
    upstream.faults.redirect_blobs_to, cdn.one_use = cdn, True
    upstream.faults.require_token = True
    upstream.faults.cut_after = [100_000, 0, 50_000]
    fetch(store, clock, source(registry))
    assert upstream.gets(NAME) == cdn.gets(NAME) == 4
    assert cdn.bytes_sent(NAME) == len(DATA)
    assert [each.headers.get("Range") for each in cdn.requests("GET")][1:] == [
        "bytes=100000-",
        "bytes=100000-",
        "bytes=150000-",
    ]
    assert len(upstream.token_requests) == 1


def test_an_address_that_has_expired_is_no_denial(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, cdn: FakeCdn
) -> None:
    upstream.faults.redirect_blobs_to, cdn.status = cdn, 403
    with pytest.raises(UpstreamUnavailable):
        fetch(store, clock, source(registry))
    assert cdn.gets(NAME) == MAX_FRUITLESS


def test_wrong_bytes_at_the_content_server_are_fetched_again(
    upstream: FakeUpstream, registry: Upstream, store: Store, clock: Clock, cdn: FakeCdn
) -> None:
    upstream.faults.redirect_blobs_to = cdn
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = 9, 1
    assert fetch(store, clock, source(registry)).restarts == 1


@pytest.mark.parametrize("size", [0, 1, 2, 65_536])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_any_size_and_both_algorithms(
    upstream: FakeUpstream, store: Store, clock: Clock, size: int, algorithm: str
) -> None:
    data = random_bytes(size, seed=size)
    digest = Digest.parse(upstream.add_blob(data, algorithm=algorithm))
    fetch(store, clock, source(connect(upstream.url), digest), digest)


def test_a_full_disk_ends_the_download_and_the_connection(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(DATA)

    def full(*_: object) -> None:
        raise StoreFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(Partial, "append", full)
        with pytest.raises(StoreFull):
            fetch(store, clock, script.source())
    assert (script.starts, script.open_bodies) == ([0], 0)
    fetch(store, clock, script.source())


def test_tls(make_upstream: MakeUpstream, store: Store, clock: Clock, tmp_path: Path) -> None:
    context, authority = make_certificate(tmp_path)
    upstream = make_upstream(tls=context)
    upstream.add_blob(DATA)
    fetch(store, clock, source(connect(upstream.url, tls=TLS(verify=str(authority)))))
    with pytest.raises(UpstreamUnavailable, match="TLS"):
        connect(upstream.url).open_blob(APP, DIGEST)
