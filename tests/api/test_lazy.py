"""Lazy pulls: a range of a cold blob comes by itself, is kept, and is part of whatever is downloaded later."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from registry_cache.upstream.read_size import MAX_READ
from tests.harness.cdn import FakeCdn
from tests.harness.content import APP, OCI_MANIFEST, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Answer, Puller
from tests.harness.server import CacheServer
from tests.harness.shared_cache import shared_by_many
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually
from tests.harness.workers import Workers

PIECE = 8 * KiB
DATA = random_bytes(24 * MiB, seed="lazy")
SIZE = len(DATA)
HOLD = {"proxy": {"lazy": "hold"}}
# What one repository brought is not another's.
OTHER = "library/other"


@pytest.fixture(scope="module")
def shared_cache(shared_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheServer]:
    """One that fetches what is asked for: on a busy machine the ten seconds of `fill` may be over within a story."""
    with shared_by_many(shared_upstream, tmp_path_factory.mktemp("hold"), HOLD) as server:
        yield server


def asked(upstream: FakeUpstream, blob: str) -> list[str | None]:
    return [each.headers["Range"] for each in upstream.asked("GET", blob)]


def ranged(puller: Puller, blob: str, asked: str, repository: str = APP) -> Answer:
    return puller.blob(blob, repository, {"Range": f"bytes={asked}"})


def known_layer(upstream: FakeUpstream, puller: Puller) -> str:
    """A layer whose size a manifest that was pulled has told."""
    blob = upstream.add_blob(DATA)
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": blob, "size": SIZE}
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": upstream.add_blob(b"{}"), "size": 2}
    image = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
    puller.manifest(upstream.add_manifest(image))
    return blob


@pytest.mark.parametrize("wanted", ["-47", f"{SIZE - 47}-{SIZE - 1}", f"{SIZE - 47}-{SIZE + 99}"])
def test_a_footer_comes_by_itself_and_once(upstream: FakeUpstream, puller: Puller, wanted: str) -> None:
    blob = upstream.add_blob(DATA)
    first, second = ranged(puller, blob, wanted), ranged(puller, blob, wanted)
    for answer in (first, second):
        assert (answer.status, answer.body) == (206, DATA[-47:])
        assert answer.headers["Content-Range"] == f"bytes {SIZE - 47}-{SIZE - 1}/{SIZE}"
    assert [each.headers["X-Cache"] for each in (first, second)] == ["miss", "hit"]
    assert upstream.bytes_sent(blob) == PIECE


def test_a_manifest_tells_the_size_and_no_head_is_needed(upstream: FakeUpstream, puller: Puller) -> None:
    blob = known_layer(upstream, puller)
    assert ranged(puller, blob, "-47").status == 206
    assert (upstream.heads(blob), upstream.gets(blob)) == (0, 1)


def test_a_whole_begins_with_the_pieces_that_are_here(upstream: FakeUpstream, puller: Puller, workers: Workers) -> None:
    blob = upstream.add_blob(DATA)
    for wanted in ("-47", "0-99", "5000000-5100000"):
        ranged(puller, blob, wanted)
    assert digest_of(puller.blob(blob).body) == blob
    assert upstream.bytes_sent(blob) == SIZE
    assert ranged(puller, blob, "-47").body == DATA[-47:]
    assert upstream.bytes_sent(blob) == SIZE


def test_forty_clients_of_overlapping_ranges_cost_each_byte_once(upstream: FakeUpstream, puller: Puller) -> None:
    """Of two workers; half of them come when the others have their bytes under way."""
    blob = upstream.add_blob(DATA)
    upstream.faults.rate = 4 * MiB
    dice = random.Random(1)
    starts = [8 * MiB + dice.randrange(1 * MiB) for _ in range(40)]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda at: ranged(puller, blob, f"{at}-{at + 131071}"), starts))
    for at, answer in zip(starts, answers, strict=True):
        assert (answer.status, answer.body == DATA[at : at + 131072]) == (206, True)
    covered = {piece for at in starts for piece in range(at // PIECE, (at + 131071) // PIECE + 1)}
    assert upstream.bytes_sent(blob) == len(covered) * PIECE


def test_two_servers_over_one_store_fetch_a_range_once(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path
) -> None:
    pullers = [make_puller(make_cache(HOLD, root=tmp_path / "one", workers=1).url) for _ in range(2)]
    blob = upstream.add_blob(DATA)
    upstream.faults.rate = 2 * MiB
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ranged(pullers[number % 2], blob, f"0-{MiB - 1}").body, range(8)))
    assert all(answer == DATA[:MiB] for answer in answers)
    assert upstream.bytes_sent(blob) == MiB


def test_a_range_overtakes_the_download_and_is_not_fetched_again(upstream: FakeUpstream, puller: Puller) -> None:
    blob = known_layer(upstream, puller)
    upstream.faults.of(blob).hold_at = 2 * MiB
    whole = puller.start_blob(APP, blob)
    whole.wait_for(2 * MiB - 1)

    footer = ranged(puller, blob, "-47")  # returns, though the download is held
    chunk = ranged(puller, blob, f"{20 * MiB}-{21 * MiB - 1}")

    assert (footer.status, footer.body, chunk.body) == (206, DATA[-47:], DATA[20 * MiB : 21 * MiB])
    upstream.faults.of(blob).gate.set()
    assert whole.finish().digest == blob
    assert upstream.bytes_sent(blob) == SIZE


@pytest.mark.parametrize("requests", [1, 4])
@pytest.mark.parametrize("is_known", [True, False])
def test_ranges_beside_a_download_cost_what_was_on_its_line_at_most(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, requests: int, is_known: bool
) -> None:
    """However it asks, and whether anybody knew how large the blob is: its first request is cut, and no other is."""
    puller = make_puller(make_cache({"proxy": {"blob_requests": requests}}).url)
    blob = known_layer(upstream, puller) if is_known else upstream.add_blob(DATA)
    upstream.faults.of(blob).hold_at = 64 * KiB
    whole = puller.start_blob(APP, blob)
    whole.wait_for(64 * KiB - 1)
    dice = random.Random(3)
    starts = [4 * MiB, *(dice.randrange(4 * MiB, SIZE - 100_000) for _ in range(23))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: ranged(puller, blob, f"{at}-{at + 99_999}").body, starts))
    assert answers == [DATA[at : at + 100_000] for at in starts]
    upstream.faults.of(blob).gate.set()
    assert whole.finish().digest == blob
    first, *others = sorted(map(span, asked(upstream, blob)), key=lambda each: each.start)
    # Nothing else is asked for twice, and all behind the first range is asked for by others: what is read of the first
    # request within one block of reading goes beyond it.
    assert all(one.stop <= next_.start for one, next_ in pairwise(others))
    assert SIZE - 4 * MiB - MAX_READ <= sum(map(len, others)) <= SIZE - 4 * MiB
    if first.stop == 4 * MiB:
        assert upstream.bytes_sent(blob) == SIZE


def span(wanted: str | None) -> range:
    """The bytes that a Range names."""
    start, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
    return range(int(start), int(last) + 1 if last else SIZE)


def test_a_range_overtakes_a_download_of_unknown_size(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.of(blob).hold_at = 2 * MiB
    whole = puller.start_blob(APP, blob)
    whole.wait_for(2 * MiB - 1)
    # It returns, though the download is held.
    assert ranged(puller, blob, "-47").body == DATA[-47:]
    upstream.faults.of(blob).gate.set()
    assert whole.finish().digest == blob
    assert SIZE <= upstream.bytes_sent(blob) <= SIZE + MiB


def test_a_range_overtakes_the_download_of_another_worker(
    upstream: FakeUpstream, puller: Puller, workers: Workers
) -> None:
    blob = known_layer(upstream, puller)
    upstream.faults.of(blob).hold_at = 2 * MiB
    with workers.only(workers.first):
        whole = puller.start_blob(APP, blob)
        whole.wait_for(2 * MiB - 1)
    with workers.only(workers.second):
        footer = ranged(puller, blob, "-47")
    assert (footer.status, footer.body) == (206, DATA[-47:])
    upstream.faults.of(blob).gate.set()
    assert whole.finish().digest == blob
    assert upstream.bytes_sent(blob) == SIZE


def test_ranges_alone_download_nothing_else(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache(HOLD, workers=1).url)
    blob = upstream.add_blob(DATA)
    for at in range(0, SIZE, 2 * MiB):
        assert ranged(puller, blob, f"{at}-{at + MiB - 1}").body == DATA[at : at + MiB]
    assert upstream.bytes_sent(blob) == SIZE // 2


def test_what_clients_read_a_quarter_of_is_completed_behind_them(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache(workers=1)
    puller = make_puller(cache.url)
    blob = upstream.add_blob(DATA)
    for at in range(0, 12 * MiB, 2 * MiB):
        assert ranged(puller, blob, f"{at}-{at + MiB - 1}").body == DATA[at : at + MiB]
    eventually(lambda: list(cache.root.glob(f"blobs/sha256/*/{blob.partition(':')[2]}")))
    assert upstream.bytes_sent(blob) == SIZE
    eventually(lambda: not list(cache.root.glob("pieces/*/*/*")))


def test_chunks_of_a_whole_cost_it_once(upstream: FakeUpstream, puller: Puller) -> None:
    """As a client that fetches a layer by many closed ranges at once, in any order."""
    blob = known_layer(upstream, puller)
    starts = list(range(0, SIZE, 1 * MiB))
    random.Random(2).shuffle(starts)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda at: ranged(puller, blob, f"{at}-{at + MiB - 1}").body, starts))
    assert answers == [DATA[at : at + MiB] for at in starts]
    assert digest_of(puller.blob(blob).body) == blob
    assert upstream.bytes_sent(blob) == SIZE


def test_an_upstream_that_ignores_ranges_is_asked_for_the_whole(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache(workers=1).url)
    first, second = upstream.add_blob(DATA), upstream.add_blob(DATA[1:])
    upstream.faults.no_range = True
    assert (ranged(puller, first, "-47").body, digest_of(puller.blob(first).body)) == (DATA[-47:], first)
    assert asked(upstream, first) == [f"bytes={SIZE - PIECE}-{SIZE - 1}", None]
    # It is not tried again with every blob.
    assert ranged(puller, second, "-47").body == DATA[-47:]
    assert asked(upstream, second) == [None]


def test_an_upstream_that_refuses_ranges_is_asked_for_the_whole(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache(workers=1).url)
    blob = upstream.add_blob(DATA)
    upstream.faults.answer(f"GET .*{blob}", 403, times=1)
    assert ranged(puller, blob, "-47").status == 403
    upstream.faults.answer(f"GET .*{blob}", 502, times=1)
    assert (ranged(puller, blob, "-47").body, ranged(puller, blob, "0-9").body) == (DATA[-47:], DATA[:10])
    assert upstream.bytes_sent(blob) == SIZE


def test_where_lazy_is_off_a_range_downloads_the_whole(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache({"proxy": {"lazy": "off"}}, workers=1).url)
    blob = upstream.add_blob(DATA)
    assert ranged(puller, blob, "-47").body == DATA[-47:]
    assert asked(upstream, blob) == [None]


def test_a_range_that_is_cut_goes_on_behind_its_last_byte(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.cut_after = [100_000, 100_000]
    answer = ranged(puller, blob, "1000000-1999999")
    assert (answer.status, answer.body == DATA[1_000_000:2_000_000]) == (206, True)
    assert len(asked(upstream, blob)) == 3


def test_a_range_needs_the_repository_s_own_yes(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    ranged(puller, blob, "-47")
    assert ranged(puller, blob, "-47", OTHER).status == 404
    assert ranged(puller, blob, "0-9", OTHER).status == 404
    assert ranged(puller, blob, f"{SIZE}-{SIZE + 9}", OTHER).status == 404
    upstream.add_blob(DATA, OTHER)
    answer = ranged(puller, blob, "-47", OTHER)
    assert (answer.body, answer.headers["X-Cache"]) == (DATA[-47:], "hit")
    assert upstream.bytes_sent(blob) == PIECE


def test_what_another_repository_has_whole_is_not_fetched_by_ranges(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.add_blob(DATA, OTHER)
    puller.blob(blob)
    sent = upstream.bytes_sent(blob)
    assert ranged(puller, blob, "-47", OTHER).body == DATA[-47:]
    assert upstream.bytes_sent(blob) == sent


def test_what_upstream_does_not_have_leaves_nothing(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    absent = digest_of(b"nowhere")
    assert ranged(puller, absent, "-47").status == 404
    blob = known_layer(upstream, puller)
    upstream.faults.answer(f"GET .*{blob}", 404, times=1)
    assert ranged(puller, blob, "-47").status == 404
    assert not list(cache.root.glob("pieces/*/*/*"))


def test_pieces_of_a_whole_that_is_wrong_go(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.corrupt_at, upstream.faults.corrupt_times = SIZE - 10, 1
    wrong = ranged(puller, blob, "-47")
    assert (wrong.status, wrong.body == DATA[-47:]) == (206, False)  # unverified, as any part of a growing blob
    # The first try is made of them, and says so; it does not count against upstream.
    assert puller.start_blob(APP, blob).finish().complete is False
    assert digest_of(puller.blob(blob).body) == blob
    assert ranged(puller, blob, "-47").body == DATA[-47:]
    assert "upstream sent wrong bytes" in cache.log_text()


@pytest.mark.parametrize("wanted", [f"{SIZE}-{SIZE + 9}", f"{SIZE + 5}-{SIZE + 9}", "9-8"])
def test_a_range_behind_the_end_is_refused_and_costs_no_download(
    upstream: FakeUpstream, puller: Puller, wanted: str
) -> None:
    blob = upstream.add_blob(DATA)
    for _ in range(2):
        answer = ranged(puller, blob, wanted)
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    assert upstream.gets(blob) == 0


def test_a_range_of_other_bytes_is_the_whole(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    ours = puller.blob(blob, headers={"Range": "bytes=-47", "If-Range": f'"{blob}"'})
    assert (ours.status, ours.body) == (206, DATA[-47:])
    others = puller.blob(blob, headers={"Range": "bytes=-47", "If-Range": f'"{digest_of(b"")}"'})
    assert (others.status, digest_of(others.body)) == (200, blob)


def test_a_head_between_ranges_tells_the_size(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    ranged(puller, blob, "-47")
    head = puller.head(f"/v2/{APP}/blobs/{blob}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(SIZE))
    assert ranged(puller, blob, "-47").headers["X-Cache"] == "hit"
    assert (upstream.gets(blob), upstream.heads(blob)) == (1, 1)


def test_what_a_snapshotter_asks_costs_its_ranges_alone(upstream: FakeUpstream, puller: Puller) -> None:
    """As that of eStargz reads a layer: two bytes, the size, the end with the table, a file; by chunks of 50,000.

    The size came with the first bytes; of another repository upstream tells it.
    """
    blob = known_layer(upstream, puller)
    # Not one that another test has read of it: a worker remembers for a moment what was proven.
    stranger = "library/stranger"
    upstream.add_blob(DATA, stranger)
    parts = [(0, 2), (SIZE // 50_000 * 50_000, SIZE), (5_000_000, 6_100_000)]

    first = ranged(puller, blob, "0-1").body
    heads = [puller.head(f"/v2/{repository}/blobs/{blob}") for repository in (APP, stranger)]
    rest = [ranged(puller, blob, f"{start}-{stop - 1}").body for start, stop in parts[1:]]

    assert [first, *rest] == [DATA[start:stop] for start, stop in parts]
    assert [each.headers["Content-Length"] for each in heads] == [str(SIZE)] * 2
    assert [each.headers["X-Cache"] for each in heads] == ["hit", "miss"]
    assert [each.path for each in upstream.asked("HEAD", blob)] == [f"/v2/{stranger}/blobs/{blob}"]
    pieces = {piece for start, stop in parts for piece in range(start // PIECE, (stop - 1) // PIECE + 1)}
    assert upstream.bytes_sent(blob) == sum(min(PIECE, SIZE - piece * PIECE) for piece in pieces)


def test_several_ranges_cost_what_they_name(upstream: FakeUpstream, puller: Puller) -> None:
    """As the snapshotter for eStargz and podman with zstd:chunked ask: a layer's missing chunks in one request."""
    blob = upstream.add_blob(DATA)
    starts = list(range(MiB, 20 * MiB, MiB))
    answer = ranged(puller, blob, ",".join(f"{at}-{at + PIECE - 1}" for at in starts))
    assert answer.status == 206
    assert all(DATA[at : at + PIECE] in answer.body for at in starts)
    assert upstream.bytes_sent(blob) == len(starts) * PIECE
    assert upstream.peak_in_flight(blob) <= 4
    again = ranged(puller, blob, ",".join(f"{at}-{at + 9}" for at in starts))
    assert (again.headers["X-Cache"], upstream.gets(blob)) == ("hit", len(starts))


def test_ranges_of_a_blob_that_is_elsewhere_cost_the_registry_one_request(
    upstream: FakeUpstream, cdn: FakeCdn, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    puller = make_puller(make_cache({"proxy": {"private_redirects": True}}, workers=1).url)
    upstream.faults.redirect_blobs_to, upstream.faults.require_token = cdn, True
    blob = known_layer(upstream, puller)
    for at in range(MiB, 11 * MiB, MiB):
        assert ranged(puller, blob, f"{at}-{at + 99}").body == DATA[at : at + 100]
    assert (upstream.gets(blob), cdn.gets(blob)) == (1, 10)
    cdn.expire()
    assert ranged(puller, blob, "-47").body == DATA[-47:]
    assert upstream.gets(blob) == 2


def test_what_a_killed_worker_had_fetched_is_not_fetched_again(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, workers: Workers
) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 1 * MiB
    with workers.only(workers.first):
        lost = puller.start_blob(APP, blob, {"Range": f"bytes=0-{2 * MiB - 1}"})
        lost.wait_for(1 * MiB - PIECE)
    cache.kill_worker(workers.first)
    upstream.faults.hold_at = None
    upstream.faults.gate.set()
    answer = ranged(puller, blob, f"0-{2 * MiB - 1}")
    assert (answer.status, answer.body == DATA[: 2 * MiB]) == (206, True)
    [_, again] = [each for each in asked(upstream, blob) if each]
    assert again in (f"bytes={1 * MiB - PIECE}-{2 * MiB - 1}", f"bytes={1 * MiB}-{2 * MiB - 1}")
