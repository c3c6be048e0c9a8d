"""A registry that answers a range with something else; and what snapshotters ask for, replayed."""

from __future__ import annotations

import pytest

from tests.harness.content import digest_of
from tests.harness.images import KiB, MiB, random_bytes
from tests.harness.pullers import Answer
from tests.harness.story import Story

DATA = random_bytes(6 * MiB + 77, seed="lies about ranges")
SIZE = len(DATA)
FOOTER = {"Range": "bytes=-47"}
MULTIPART = b"--x\r\nContent-Range: bytes 0-9/77\r\n\r\n0123456789\r\n--x--\r\n"


def ranged(story: Story, blob: str, headers: dict[str, str]) -> Answer:
    return story.puller.blob(blob, story.app, headers)


@pytest.mark.parametrize(
    ("why", "status", "body", "headers"),
    [
        ("another beginning", 206, b"?" * 47, {"Content-Range": f"bytes 0-46/{SIZE}"}),
        ("another size", 206, b"?" * 8192, {"Content-Range": f"bytes {SIZE - 8192}-{SIZE - 1}/{SIZE + 9}"}),
        ("no Content-Range", 206, b"?" * 8192, {}),
        ("several parts", 206, MULTIPART, {"Content-Type": "multipart/byteranges; boundary=x"}),
        ("a short whole", 200, b"?" * 100, {}),
        ("a page", 200, b"<html>", {"Content-Type": "text/html"}),
        ("nothing there", 416, b"", {"Content-Range": "bytes */9"}),
        ("no body", 204, b"", {}),
    ],
)
def test_what_is_not_the_range_is_shown_to_nobody(
    story: Story, why: str, status: int, body: bytes, headers: dict[str, str]
) -> None:
    blob = story.upstream.add_blob(DATA + why.encode())
    whole = DATA + why.encode()
    fitting = {name: value.replace(str(SIZE), str(len(whole))) for name, value in headers.items()}
    story.upstream.faults.answer(f"GET .*{blob}", status, body, 1, **fitting)
    answer = ranged(story, blob, FOOTER)
    assert (answer.status, answer.body) == (206, whole[-47:]), why
    assert digest_of(story.blob(blob).body) == blob


def test_wrong_bytes_of_a_range_go_with_the_whole(story: Story) -> None:
    """They cannot be told from right ones until then (SECURITY.md)."""
    blob = story.upstream.add_blob(DATA)
    begin = (SIZE - 47) // 8192 * 8192
    wrong = {"Content-Range": f"bytes {begin}-{SIZE - 1}/{SIZE}"}
    story.upstream.faults.answer(f"GET .*{blob}", 206, b"?" * (SIZE - begin), 1, **wrong)
    assert ranged(story, blob, FOOTER).body == b"?" * 47
    assert not story.start_blob(blob).finish().complete
    assert digest_of(story.blob(blob).body) == blob
    assert ranged(story, blob, FOOTER).body == DATA[-47:]


def test_the_requests_of_the_stargz_and_soci_snapshotters(held: Story) -> None:
    """A replay, not the programs: stargz asks for one byte, the footer, the table before it, then chunks, some of them
    together; SOCI for spans of 4 MiB of the layer."""
    # The cache is that of all stories.
    data = random_bytes(SIZE, seed="snapshotters")
    blob = held.upstream.add_blob(data)
    table = SIZE - 51 - 20 * KiB
    asked = [(0, 1), (SIZE - 51, SIZE), (table, SIZE - 51), (1 * MiB, 1 * MiB + 50_000), (1 * MiB, 2 * MiB)]
    for start, stop in asked:
        answer = ranged(held, blob, {"Range": f"bytes={start}-{stop - 1}"})
        assert (answer.status, answer.body) == (206, data[start:stop])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    together = [(3 * MiB, 3 * MiB + 9000), (3 * MiB + 100_000, 3 * MiB + 100_500)]
    ranges = ",".join(f"{start}-{stop - 1}" for start, stop in together)
    several = ranged(held, blob, {"Range": f"bytes={ranges}"})
    assert several.headers["Content-Type"].startswith("multipart/byteranges")
    assert all(data[start:stop] in several.body for start, stop in together)
    pieces = {at for start, stop in [*asked, *together] for at in range(start // 8192, -(-stop // 8192))}
    assert held.upstream.bytes_sent(blob) == sum(min(8192, SIZE - at * 8192) for at in pieces)
    span = ranged(held, blob, {"Range": f"bytes=0-{4 * MiB - 1}"})
    assert (span.status, span.body == data[: 4 * MiB]) == (206, True)
    assert digest_of(held.blob(blob).body) == blob
    assert held.upstream.bytes_sent(blob) == SIZE
