"""What the kernel acknowledges of a body before it is read."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing

import pytest
import urllib3

from registry_cache.oci.digest import Digest
from registry_cache.runtime.seals import Seals
from registry_cache.upstream.network.tcp_ack import READ_AHEAD
from registry_cache.upstream.peer import Peers, ThingAtPeer
from tests.harness.store_rig import APP, HUB
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

# The kernel's own mark: every byte counts.
USUAL = 1


class Reads:
    """Of each read of a body: the low-water mark at its begin, and the port that it was read by."""

    def __init__(self) -> None:
        self.marks: list[int] = []
        self.ports: set[int] = set()

    def begin(self, response: urllib3.HTTPResponse) -> None:
        self.marks.append(_mark(response))
        if response.connection is not None:
            self.ports.add(response.connection.sock.getsockname()[1])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    reads, read = Reads(), urllib3.HTTPResponse.read1

    def read1(response: urllib3.HTTPResponse, *arguments: object, **options: object) -> bytes:
        reads.begin(response)
        return read(response, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(urllib3.HTTPResponse, "read1", read1)
    return reads


def test_a_fast_body_is_acknowledged_while_its_reader_is_busy_and_read_as_it_comes(
    upstream: FakeUpstream, reads: Reads
) -> None:
    digest = Digest.parse(upstream.add_blob(bytes(8 * READ_AHEAD)))
    busy = []
    with closing(connect(upstream.url).open_blob(APP, digest)) as body:
        for _ in body:
            busy.append(_mark(body.response.raw))  # type: ignore[union-attr]
    assert READ_AHEAD in busy
    assert set(reads.marks) == {USUAL}


def test_a_connection_that_is_used_again_has_the_kernels_own(upstream: FakeUpstream, reads: Reads) -> None:
    registry = connect(upstream.url)
    digest = Digest.parse(upstream.add_blob(bytes(8 * READ_AHEAD)))
    for _ in range(2):
        with closing(registry.open_blob(APP, digest)) as body:
            assert sum(len(chunk) for chunk in body) == 8 * READ_AHEAD
    assert len(reads.ports) == 1
    assert set(reads.marks) == {USUAL}


def test_a_body_that_brings_little_is_left_alone(upstream: FakeUpstream) -> None:
    digest = Digest.parse(upstream.add_blob(b"a body of a few bytes"))
    with closing(connect(upstream.url).open_blob(APP, digest)) as body:
        busy = [_mark(body.response.raw) for _ in body]  # type: ignore[union-attr]
    assert set(busy) == {USUAL}


def test_what_another_node_gives_is_acknowledged_as_well(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = upstream.add_blob(bytes(8 * READ_AHEAD))
    read, reading, busy = http.client.HTTPResponse.read1, [], []
    with closing(
        Peers("one", Seals("s")).open_blob(upstream.url, ThingAtPeer("blobs", HUB, str(APP), digest), 0)
    ) as body:

        def mark() -> int:
            return body._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

        def read1(response: http.client.HTTPResponse, size: int) -> bytes:
            reading.append(mark())
            return read(response, size)

        monkeypatch.setattr(http.client.HTTPResponse, "read1", read1)
        for _ in body:
            busy.append(mark())
    assert READ_AHEAD in busy
    assert set(reading) == {USUAL}


def _mark(response: urllib3.HTTPResponse) -> int:
    """The mark of its socket; the kernel's own where its connection has been given back."""
    connection = response.connection
    if connection is None:
        return USUAL
    mark: int = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
    return mark
