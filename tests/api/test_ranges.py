"""Ranges of what is still on its way: clients that resume, and clients that fetch in parts."""

import email
import email.policy
from typing import Any

import pytest

from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Answer, Puller
from tests.harness.upstream import FakeUpstream
from tests.harness.workers import Workers

DATA = random_bytes(4 * MiB, seed="ranges")


@pytest.mark.parametrize("worker", ["first", "second"])
@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=1048576-1114111", 1 * MiB, 1 * MiB + 64 * KiB),
        ("bytes=0-0", 0, 1),
        ("bytes=2097140-2097150", 2 * MiB - 12, 2 * MiB - 1),
    ],
)
def test_a_range_that_is_here_is_served_while_the_rest_arrives(
    upstream: FakeUpstream, puller: Puller, workers: Workers, worker: str, asked: str, start: int, stop: int
) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 2 * MiB
    with workers.only(workers.first):
        puller.start_blob(APP, blob).wait_for(2 * MiB - 1)
    with workers.only(getattr(workers, worker)):
        answer = puller.blob(blob, headers={"Range": asked})  # returns, though the download is held
    assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{len(DATA)}")
    assert answer.body == DATA[start:stop]
    assert answer.headers["X-Cache"] == "join"
    assert upstream.gets(blob) == 1


@pytest.mark.parametrize(("asked", "start"), [("bytes=3145728-", 3 * MiB), ("bytes=-1000", 4 * MiB - 1000)])
def test_a_range_that_is_not_here_yet_waits_for_it(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller, asked: str, start: int
) -> None:
    # Otherwise a small one may overtake the download, if that is slow; see test_lazy.py.
    puller = make_puller(make_cache({"proxy": {"lazy": "off"}}).url)
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 2 * MiB
    puller.start_blob(APP, blob).wait_for(2 * MiB - 1)
    waiting = puller.start_blob(APP, blob, {"Range": asked})
    upstream.faults.gate.set()
    result = waiting.finish()
    assert (result.status, result.digest) == (206, digest_of(DATA[start:]))
    assert result.headers["Content-Range"] == f"bytes {start}-{4 * MiB - 1}/{4 * MiB}"
    assert upstream.gets(blob) == 1


def test_an_open_range_of_what_nobody_fetched_yet_fetches_the_whole(upstream: FakeUpstream, puller: Puller) -> None:
    """Who resumes gets the verified end; what names an end is in test_lazy.py."""
    blob = upstream.add_blob(DATA)
    answer = puller.blob(blob, headers={"Range": "bytes=1000-"})
    assert (answer.status, answer.body) == (206, DATA[1000:])
    assert puller.blob(blob).body == DATA
    assert [each.headers["Range"] for each in upstream.asked("GET", blob)] == [None]


@pytest.mark.parametrize("times", [1, None])
def test_a_part_of_wrong_bytes_is_not_served_where_the_rest_comes_at_once(
    upstream: FakeUpstream, puller: Puller, times: int | None
) -> None:
    blob, wrong = upstream.add_blob(DATA), b"!" * len(DATA)
    upstream.faults.answer(f"GET .*{blob}", 200, wrong, times)
    answer = puller.blob(blob, headers={"Range": "bytes=1000-3999999"})
    if times:
        assert (answer.status, answer.body) == (206, DATA[1000:4_000_000])
    else:
        assert answer.status == 502


def test_a_client_that_lost_its_connection_resumes_the_running_download(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 2 * MiB
    lost = puller.start_blob(APP, blob)
    lost.wait_for(1 * MiB)
    lost.close()
    resumed = puller.start_blob(APP, blob, {"Range": f"bytes={lost.size}-"})
    upstream.faults.gate.set()
    assert resumed.finish().digest == digest_of(DATA[lost.size :])
    assert upstream.gets(blob) == 1


def test_a_layer_fetched_in_parts_costs_one_download(upstream: FakeUpstream, puller: Puller) -> None:
    """As containerd does: several open ranges at once, each left when the next one's beginning is reached."""
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 1 * MiB
    parts = [puller.start_blob(APP, blob, {"Range": f"bytes={at * MiB}-"}) for at in range(4)]
    parts[0].wait_for(1 * MiB - 1)
    upstream.faults.gate.set()
    for part in parts:
        part.wait_for(1 * MiB)
        part.close()
    assert digest_of(puller.blob(blob).body) == blob
    assert (upstream.gets(blob), upstream.bytes_sent(blob)) == (1, len(DATA))


def test_a_range_behind_the_end_of_a_running_download_is_refused_at_once(
    upstream: FakeUpstream, puller: Puller
) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = 1 * MiB
    puller.start_blob(APP, blob).wait_for(1 * MiB - 1)
    answer = puller.blob(blob, headers={"Range": f"bytes={len(DATA)}-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def parts_of(answer: Answer) -> list[tuple[str, Any, Any]]:
    """The Content-Type, Content-Range and body of each part, as a MIME parser reads them."""
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + answer.body, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        found.append((part.get_content_type(), part["Content-Range"], part.get_payload(decode=True)))
    return found


@pytest.mark.parametrize("whole_first", [False, True])
@pytest.mark.parametrize("hold_at", [None, 2 * MiB])
def test_several_ranges_are_answered_with_these(
    upstream: FakeUpstream, puller: Puller, whole_first: bool, hold_at: int | None
) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.hold_at = None if whole_first else hold_at
    if whole_first:
        puller.blob(blob)
    elif hold_at:
        puller.start_blob(APP, blob).wait_for(hold_at - 1)
    answer = puller.blob(blob, headers={"Range": "bytes=0-9, 100-40099,1000-1000"})
    assert (answer.status, int(answer.headers["Content-Length"])) == (206, len(answer.body))
    assert answer.headers["Content-Type"].startswith("multipart/byteranges")
    assert parts_of(answer) == [
        ("application/octet-stream", f"bytes {start}-{stop - 1}/{len(DATA)}", DATA[start:stop])
        for start, stop in ((0, 10), (100, 40100), (1000, 1001))
    ]


@pytest.mark.parametrize("asked", ["bytes=0-,0-,0-", "bytes=0-9,x-", "bytes=0-9,5-1,-", "bytes=0-9,", "lines=0-1,3-4"])
def test_ranges_that_make_no_sense_together_are_answered_with_the_whole(
    upstream: FakeUpstream, puller: Puller, asked: str
) -> None:
    blob = upstream.add_blob(DATA)
    answer = puller.blob(blob, headers={"Range": asked})
    assert (answer.status, answer.body == DATA) == (200, True)


def test_of_several_ranges_those_behind_the_end_are_left_out(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    puller.blob(blob)
    some = puller.blob(blob, headers={"Range": f"bytes=0-9,{len(DATA)}-{len(DATA) + 9}"})
    assert (some.status, some.headers["Content-Range"], some.body) == (206, f"bytes 0-9/{len(DATA)}", DATA[:10])
    none = puller.blob(blob, headers={"Range": f"bytes={len(DATA)}-,{len(DATA) + 5}-"})
    assert (none.status, none.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def test_what_upstream_announces_no_length_for_arrives_whole(upstream: FakeUpstream, puller: Puller) -> None:
    blob = upstream.add_blob(DATA)
    upstream.faults.no_length = True
    upstream.faults.hold_at = 2 * MiB
    pulls = [puller.start_blob(APP, blob, headers) for headers in ({}, {}, {"Range": "bytes=10-19"})]
    for pull in pulls:
        pull.wait_for(2 * MiB - 1)
    upstream.faults.gate.set()
    assert [(result.status, result.digest) for result in (pull.finish() for pull in pulls)] == [(200, blob)] * 3
    assert upstream.gets(blob) == 1
