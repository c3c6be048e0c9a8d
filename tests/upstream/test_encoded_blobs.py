"""A blob with a Content-Encoding is what was sent, or what that decodes to: a size tells, or the digest does."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Iterable

import pytest
import requests

from registry_cache.errors import UpstreamError, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.upstream import encoded_blobs
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.encoded_blobs import EncodedBlobs, Reading, decoded
from tests.harness.images import random_bytes
from tests.harness.store_rig import APP
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect, read_all

DATA = random_bytes(200_000, seed="encoded")
ZIPPED = gzip.compress(DATA)
PLAIN, LABELLED = Digest.of(DATA), Digest.of(ZIPPED)


@pytest.fixture
def registry(upstream: FakeUpstream) -> Upstream:
    for each in (DATA, ZIPPED):
        upstream.add_blob(each)
    upstream.faults.answer("(GET|HEAD) .*/blobs/", 200, ZIPPED, Content_Encoding="gzip")
    return connect(upstream.url)


def pieces(data: bytes, size: int = 1000) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [len(DATA), None])
@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", ZIPPED),
        ("x-gzip", gzip.compress(DATA[:7]) + gzip.compress(DATA[7:])),
        ("deflate", zlib.compress(DATA)),
    ],
)
def test_decoded_in_small_pieces(encoding: str, data: bytes, size: int | None) -> None:
    assert b"".join(decoded(pieces(data), encoding, size)) == DATA


def test_what_grows_to_more_comes_in_pieces_and_ends_where_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    found = list(decoded([bomb], "gzip", 1_000_000))
    assert (sum(map(len, found)), max(map(len, found)) <= 64 * 1024) == (1_000_000, True)
    assert sum(map(len, decoded([bomb], "gzip", None))) == 10_000_000
    monkeypatch.setattr(encoded_blobs, "MAX_UNANNOUNCED_SIZE", 1_000_000)
    with pytest.raises(UpstreamError, match="unknown size"):
        list(decoded([bomb], "gzip", None))


def test_what_grows_beyond_measure_is_no_blob_even_where_its_size_was_announced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoded_blobs, "FREE_SIZE", 1_000_000)
    bomb = gzip.compress(bytes(20_000_000))
    with pytest.raises(UpstreamError, match="100 times"):
        list(decoded(pieces(bomb), "gzip", 20_000_000))
    assert sum(map(len, decoded([bomb[:1000]], "gzip", 900_000))) == 900_000
    dense = gzip.compress(DATA)
    assert b"".join(decoded([dense] * 20, "gzip", 20 * len(DATA))) == DATA * 20


def test_members_that_hold_nothing_are_looked_at_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copies what is behind it: a mebibyte of them took three seconds, in which nobody had a turn."""
    turns = [0]
    inflate = encoded_blobs._inflate

    def count(stream: zlib._Decompress, data: bytes) -> bytes:
        turns[-1] += len(data)
        return inflate(stream, data)

    monkeypatch.setattr(encoded_blobs, "_inflate", count)
    monkeypatch.setattr(time, "sleep", lambda _: turns.append(0))
    empty = gzip.compress(b"") * 5000

    assert list(decoded([empty], "gzip", 10)) == []

    # Bytes that are copied in one turn. All at once it would be 250 MB.
    assert max(turns) < 10_000_000


@pytest.mark.parametrize("data", [ZIPPED[:-1], ZIPPED[:50_000], b"{}", b""])
def test_what_is_cut_or_not_encoded_at_all_is_fetched_again(data: bytes) -> None:
    with pytest.raises(UpstreamUnavailable):
        list(decoded([data], "gzip", len(DATA)))


@pytest.mark.parametrize("start", [0, 1, 150_000, len(DATA)])
def test_a_size_that_is_known_tells_at_once(upstream: FakeUpstream, registry: Upstream, start: int) -> None:
    body = registry.open_blob(APP, PLAIN, start, expected=lambda: len(DATA))
    assert (body.size, body.stop, read_all(body)) == (len(DATA), None, DATA[start:])
    body = registry.open_blob(APP, LABELLED, start, expected=lambda: len(ZIPPED))
    assert (body.size, body.is_guess, read_all(body)) == (len(ZIPPED), False, ZIPPED[start:])


def test_without_a_size_the_other_reading_follows_wrong_bytes(registry: Upstream) -> None:
    for _ in range(2):
        body = registry.open_blob(APP, LABELLED)
        assert (body.is_guess, read_all(body)) == (True, ZIPPED)
    body = registry.open_blob(APP, PLAIN)
    assert (body.is_guess, read_all(body)) == (True, ZIPPED)
    registry.record_wrong_blob(APP, PLAIN)
    body = registry.open_blob(APP, PLAIN, 7)
    assert (body.is_guess, body.size, read_all(body)) == (True, None, DATA[7:])
    registry.record_wrong_blob(APP, PLAIN)
    assert read_all(registry.open_blob(APP, PLAIN)) == ZIPPED


def test_a_part_of_what_has_to_be_decoded_is_no_part_of_the_blob(upstream: FakeUpstream, registry: Upstream) -> None:
    upstream.reset_faults()
    size = len(ZIPPED)
    span = {"Content_Range": f"bytes 0-9/{size}", "Content_Encoding": "gzip"}
    upstream.faults.answer("GET .*/blobs/", 206, ZIPPED[:10], times=1, **span)
    upstream.faults.answer("GET .*/blobs/", 200, ZIPPED, Content_Encoding="gzip")
    body = registry.open_blob(APP, PLAIN, 0, 10, expected=lambda: len(DATA))
    assert (body.stop, read_all(body)) == (None, DATA)
    upstream.reset_faults()
    upstream.faults.answer("GET .*/blobs/", 206, ZIPPED[:10], None, **span)
    body = registry.open_blob(APP, LABELLED, 0, 10, expected=lambda: size)
    assert (body.stop, body.is_guess, read_all(body)) == (10, False, ZIPPED[:10])


def test_the_size_of_what_is_sent_encoded_is_not_told(upstream: FakeUpstream, registry: Upstream) -> None:
    assert registry.head_blob(APP, PLAIN) is None
    assert registry.blob_size(APP, PLAIN) is None


@pytest.mark.parametrize(
    ("sent", "known", "expected"),
    [
        (None, 5, Reading(decodes=False, size=None, is_guess=True, is_blind=True)),
        (None, None, Reading(decodes=False, size=None, is_guess=True, is_blind=True)),
        ("5", None, Reading(decodes=False, size=5, is_guess=True, is_blind=True)),
        ("5", 5, Reading(decodes=False, size=5, is_guess=False)),
        ("4", 5, Reading(decodes=True, size=5, is_guess=True)),
    ],
)
def test_how_a_body_is_read_first(sent: str | None, known: int | None, expected: Reading) -> None:
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Encoding"] = "gzip"
    if sent:
        response.headers["Content-Length"] = sent
    assert EncodedBlobs().reading(("", APP, PLAIN), response, lambda: known) == expected
