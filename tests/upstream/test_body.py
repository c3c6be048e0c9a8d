"""How much work a body may be: its bytes are bounded, and so is the number of pieces that they come in."""

from __future__ import annotations

import gzip
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from registry_cache.errors import TooManyRequests, UpstreamError
from registry_cache.upstream.body import read_body
from registry_cache.upstream.large_documents import LargeTurn

SECONDS = 60.0
LIMIT = 1024 * 1024


class Pieces:
    """A body of ``size`` bytes, of which each read gives ``piece`` at most."""

    def __init__(self, size: int, piece: int) -> None:
        self.left = size
        self.piece = piece
        self.reads = 0

    def read1(self, most: int, *, decode_content: bool) -> bytes:
        assert not decode_content
        self.reads += 1
        size = min(self.piece, most, self.left)
        self.left -= size
        return bytes(size)

    def shutdown(self) -> None:
        """Called where it takes too long."""


def read(body: Pieces) -> bytes:
    response: Any = SimpleNamespace(raw=body, headers={})
    return read_body("docker.io", "read it", response, LIMIT, SECONDS)


@pytest.mark.parametrize("piece", [512, 1460, 64 * 1024, LIMIT])
def test_packets_are_put_together(piece: int) -> None:
    assert len(read(Pieces(LIMIT, piece))) == LIMIT


@pytest.mark.parametrize("size", [1, 900])
def test_a_small_document_may_come_byte_by_byte(size: int) -> None:
    assert len(read(Pieces(size, 1))) == size


@pytest.mark.parametrize("piece", [1, 16, 100])
def test_a_large_one_in_pieces_of_a_few_bytes_is_not_read_to_its_end(piece: int) -> None:
    body = Pieces(10**9, piece)
    with pytest.raises(UpstreamError, match="pieces of a few bytes"):
        read(body)
    assert body.reads < 2000


def test_what_decodes_to_megabytes_waits_for_its_turn_before_it_does() -> None:
    """A kilobyte may be a megabyte: whoever has no turn must not hold it."""
    taken: list[int] = []
    body, zeros = Pieces(0, 1), gzip.compress(bytes(LIMIT), 9)
    body.read1 = lambda most, *, decode_content: zeros if not taken else b""  # type: ignore[method-assign]
    response: Any = SimpleNamespace(raw=body, headers={"Content-Encoding": "gzip"})
    places = threading.BoundedSemaphore(1)
    places.acquire()
    with pytest.raises(TooManyRequests):
        read_body("docker.io", "read it", response, LIMIT, SECONDS, LargeTurn(places, 0.01))
    places.release()
    assert read_body("docker.io", "read it", response, LIMIT, SECONDS, LargeTurn(places, 0.01)) == bytes(LIMIT)
