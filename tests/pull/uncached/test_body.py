"""Bytes that cannot be kept: verified all the same, and never the last one of something wrong."""

from __future__ import annotations

import pytest

from registry_cache.errors import BlobUnknown, UpstreamCorrupt, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.pull.uncached.shared_streams import SharedStreams
from tests.harness.pull_rig import Script, Try
from tests.harness.waiting import eventually

DATA = bytes(range(256)) * 10
DIGEST = Digest.of(DATA)
SIZE = len(DATA)


def uncached(script: Script, streams: SharedStreams | None = None) -> UncachedBlob:
    return UncachedBlob(streams or SharedStreams(), Digest.of(script.data), script.source(), lambda: None)


def pieces(script: Script, start: int = 0, stop: int | None = None) -> list[bytes]:
    blob = uncached(script)
    try:
        return list(blob.parts(start, stop))
    finally:
        blob.close()
        eventually(lambda: script.open_bodies == 0)


@pytest.mark.parametrize("chunk", [1, 7, 999, 1000, SIZE])
@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, None), (0, SIZE), (0, 1), (5, 6), (1000, 2000), (999, 1001), (SIZE - 1, None), (SIZE - 1, SIZE)],
)
def test_any_part_in_any_chunks(chunk: int, start: int, stop: int | None) -> None:
    assert b"".join(pieces(Script(DATA, chunk=chunk), start, stop)) == DATA[start:stop]


def test_the_last_byte_comes_by_itself_after_all_are_verified() -> None:
    script = Script(DATA)
    blob = uncached(script)
    assert blob.size == SIZE
    got = list(blob.parts(0, None))
    assert got[-1] == DATA[-1:]
    blob.close()


@pytest.mark.parametrize("chunk", [1, 1000, SIZE])
@pytest.mark.parametrize("flip", [0, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (100, 200), (0, 1)])
def test_wrong_bytes_anywhere_cut_every_part_short(chunk: int, flip: int, start: int, stop: int | None) -> None:
    script = Script(DATA, [Try(flip=flip)], chunk=chunk)
    blob = uncached(script)
    got = b""
    with pytest.raises(Cut) as cut:  # noqa: PT012 — what came before the cut is counted
        for piece in blob.parts(start, stop):
            got += piece
    assert isinstance(cut.value.error, UpstreamCorrupt)
    assert len(got) < len(DATA[start:stop])
    blob.close()


@pytest.mark.parametrize("try_", [Try(cut=500), Try(end=500), Try(end=SIZE - 1), Try(cut=0)])
def test_an_early_end_is_mended(try_: Try) -> None:
    script = Script(DATA, [try_])
    assert b"".join(pieces(script)) == DATA
    assert len(script.starts) == 2


def test_an_early_end_that_nobody_announced_is_a_cut() -> None:
    with pytest.raises(Cut):
        pieces(Script(DATA, [Try(end=0, sized=False)]))


def test_a_refusal_is_still_an_honest_error() -> None:
    for error in (BlobUnknown("no"), UpstreamUnavailable("503")):
        with pytest.raises(type(error)):
            pieces(Script(DATA, [Try(refuse=error)]))


def test_an_empty_blob() -> None:
    assert b"".join(pieces(Script(b""))) == b""


def test_a_part_that_upstreams_size_had_promised_and_the_blob_does_not_have_is_a_cut() -> None:
    """Else the client would wait for the rest on a connection that stays open."""
    with pytest.raises(Cut):
        pieces(Script(DATA, [Try(lie=10)]), 0, SIZE + 10)
