"""Ranges through nginx: of what is not here as of what is."""

from tests.harness.images import MiB, random_bytes
from tests.harness.nginx_rig import Behind

DATA = random_bytes(8 * MiB, seed="ranges through nginx")


def test_a_range_of_a_cold_blob_comes_by_itself(behind: Behind) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(DATA, name)
    for asked, expected in (("bytes=-47", DATA[-47:]), ("bytes=5000000-5000009", DATA[5_000_000:5_000_010])):
        answer = behind.direct.blob(blob, name, {"Range": asked})
        assert (answer.status, answer.body, answer.headers["X-Cache"]) == (206, expected, "miss")
    assert behind.upstream.bytes_sent(blob) < 100_000


def test_several_ranges_are_answered_with_these(behind: Behind) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(DATA, name)
    for outcome in ("miss", "hit"):
        answer = behind.direct.blob(blob, name, {"Range": "bytes=0-9,5000000-5000009"})
        assert (answer.status, answer.headers["X-Cache"]) == (206, outcome)
        assert answer.headers["Content-Type"].startswith("multipart/byteranges")
        assert all(each in answer.body for each in (DATA[:10], DATA[5_000_000:5_000_010]))
        assert int(answer.headers["Content-Length"]) == len(answer.body)
    behind.direct.blob(blob, name)
    answer = behind.direct.blob(blob, name, {"Range": "bytes=0-9,5000000-5000009"})
    assert (answer.status, answer.headers["X-Cache"]) == (206, "hit")
    assert all(each in answer.body for each in (DATA[:10], DATA[5_000_000:5_000_010]))
