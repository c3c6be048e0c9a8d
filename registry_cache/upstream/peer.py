"""Ask another node of the cluster for a manifest that it has, or a blob that it has or leads, while that grows there.

A peer is no registry: it is asked by signed requests, gets no credential, is never redirected from, and whatever goes
wrong with it is a reason to ask somebody else. Who answers may be no node any more but whoever has its address now, so
every answer has an end in bytes, time and pieces.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from registry_cache.errors import NotHeld, UpstreamUnavailable
from registry_cache.oci.byte_range import parse_content_range
from registry_cache.oci.manifest import MAX_MANIFEST_SIZE
from registry_cache.runtime import metrics, request_context
from registry_cache.runtime.peer_question import SharedQuestion, answer_name
from registry_cache.runtime.seals import HEADER, WANTED, AskedOfPeer, Seals
from registry_cache.runtime.tls import tls_context
from registry_cache.runtime.unwanted_reads import ended_by
from registry_cache.upstream.network.tcp_ack import READ_AHEAD, acknowledge_unread
from registry_cache.upstream.network.wire import BoundedResponse
from registry_cache.upstream.read_size import ReadSize, is_in_small_pieces

# Until a peer must have connected, and until its answer must have begun. Its leader may still wait for the registry.
HEAD_SECONDS = 2.0
# A peer that is asked about a third may itself have to wait as long for that one, or for Redis before the registry.
_PATIENT_SECONDS = 2 * HEAD_SECONDS
# Until all of an answer that is no blob must be here, however it drips.
WHOLE_SECONDS = 10.0
# Silence of a peer's body while Redis cannot say whether its leader lives.
SILENCE_SECONDS = 10.0

# Where a node asks another one whether that reaches a third; the name follows.
REACH = "/cluster/reach/"
_MAX_ANSWER = 64 * 1024
# A longer answer to a question, such as a list of thousands, is not read: we then ask the registry.
_MAX_OUTCOME = 4 * 1024 * 1024
_PIECE = 64 * 1024

# What a firewall or a router says for a machine; that itself would refuse the connection.
_NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM)

# A machine that is gone without a word is noticed after these: a first question after 2 s, then 3, each a second apart.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


class PeerFailed(Exception):
    """No connection to the peer, or one that broke before an answer."""


class PeerUnreachable(PeerFailed):
    """Nobody answered at its address, which a process that has just ended does: perhaps others still reach it."""


class PeerSilent(Exception):
    """The peer accepted the connection, and did not answer in HEAD_SECONDS."""


class PeerRefused(Exception):
    """The peer answered, and not with the blob. ``is_absent``: it neither has nor leads it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answered {status}")
        self.is_absent = status == NotHeld.status


@dataclass(frozen=True, slots=True)
class ThingAtPeer:
    """What is asked for: one of the ``kind`` "blobs" or "manifests", for a repository of the upstream that all nodes
    call by this name. ``is_wanted``: the peer is to get a blob that it lacks.
    """

    kind: str
    upstream: str
    repository: str
    digest: str
    is_wanted: bool = False

    @property
    def target(self) -> str:
        """The path and the query, as they are sent."""
        name = quote(self.repository, safe="/")
        wanted = f"&{WANTED}=1" if self.is_wanted else ""
        return f"/v2/{name}/{self.kind}/{quote(self.digest, safe=':')}?ns={quote(self.upstream, safe='')}{wanted}"


class PeerBody:
    """The bytes of a blob from ``start`` on, as a peer has them. ``size`` of the whole, None where it does not say.

    ``stop``: where the peer says that they end. A ``RangeResponse`` (pull.source). Close it.
    """

    def __init__(
        self,
        peer: str,
        connection: http.client.HTTPConnection,
        connected: socket.socket,
        response: http.client.HTTPResponse,
        start: int,
        size: int | None,
        skip: int,
        stop: int | None,
    ) -> None:
        self.start = start
        self.stop = stop
        self.size = size
        self.read_at = time.monotonic()
        self._peer = peer
        self._connection = connection
        self._socket = connected
        self._response = response
        self._skip = skip
        self._read_size = ReadSize()

    def __iter__(self) -> Iterator[bytes]:
        """Yield bytes as they come. Raises UpstreamUnavailable where the connection breaks, or was aborted."""
        with ended_by(self.abort):
            while chunk := self._read():
                self.read_at = time.monotonic()
                metrics.count_peer_bytes("received", len(chunk))
                if self._skip >= len(chunk):
                    self._skip -= len(chunk)
                    continue
                yield chunk[self._skip :] if self._skip else chunk
                self._skip = 0

    def abort(self) -> None:
        """End the read that waits, from another thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._read_size.close()
        self._response.close()
        self._connection.close()
        self._socket.close()

    def _read(self) -> bytes:
        if self._read_size.reads_ahead:
            acknowledge_unread(self._socket, 1)
        try:
            data = self._response.read1(self._read_size.size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamUnavailable(f"the connection to {self._peer} broke: {error}") from error
        self._read_size.record(len(data))
        if self._read_size.reads_ahead:
            # While it is written, the peer goes on: a read then has much, and costs as little as one of the registry.
            acknowledge_unread(self._socket, READ_AHEAD)
        return data


class Peers:
    """The other nodes, as this one, called ``node``, asks them. ``ca``: who vouches for them, None for the system's."""

    def __init__(self, node: str, seals: Seals, ca: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self._node = node
        self._seals = seals
        self._ca = ca
        self._clock = clock

    def open_blob(self, url: str, blob: ThingAtPeer, start: int, stop: int | None = None) -> PeerBody:
        """Ask the peer at ``url`` for the bytes from ``start`` on, up to ``stop`` if that is given.

        Raises PeerFailed, PeerSilent, PeerRefused.
        """
        began = time.monotonic()
        connection = self._connect(url)
        # Kept here: http.client lets go of it as soon as it knows that the peer will close.
        connected: socket.socket = connection.sock
        try:
            if blob.is_wanted:
                connected.settimeout(_PATIENT_SECONDS)
            response = self._ask(connection, blob.target, start, stop)
            connected.settimeout(None)
            found = _found(response, start, stop)
        except BaseException:
            connection.close()
            raise
        body = PeerBody(urlsplit(url).netloc, connection, connected, response, start, *found)
        metrics.observe_peer(time.monotonic() - began)
        return body

    def ping(self, url: str) -> None:
        """Return if the peer at ``url`` answers us. Raises as ``open_blob``."""
        self._get(url, "/v2/", _MAX_ANSWER, _PATIENT_SECONDS)

    def reaches(self, url: str, name: str) -> str:
        """Return why the peer at ``url`` does not reach the node called ``name``, "" where it does.

        Raises as ``open_blob``.
        """
        data, _ = self._get(url, f"{REACH}{quote(name, safe='')}", _MAX_ANSWER, _PATIENT_SECONDS)
        try:
            return str(json.loads(data)["trouble"])
        except (ValueError, RecursionError, LookupError, TypeError):
            return "it answered nonsense"

    def ask(self, url: str, question: SharedQuestion) -> dict[str, Any] | None:
        """Return the outcome that the peer at ``url`` has; None for one that no node of the cluster wrote for this.

        Raises as ``open_blob``. The peer may have to ask the registry first: that is waited for so long.
        """
        target = question.target(secrets.token_hex(16))
        data, _ = self._get(url, target, _MAX_OUTCOME, _PATIENT_SECONDS)
        return self._seals.open(answer_name(target), data)

    def get_manifest(self, url: str, manifest: ThingAtPeer) -> tuple[bytes, str]:
        """Return a manifest's bytes, not compared to anything yet, and its media type. Raises as ``open_blob``."""
        return self._get(url, manifest.target, MAX_MANIFEST_SIZE + 1, HEAD_SECONDS)

    def _get(self, url: str, target: str, most: int, seconds: float) -> tuple[bytes, str]:
        """Return up to ``most`` bytes of an answer, and its media type; ``seconds`` bounds each wait for some."""
        connection = self._connect(url)
        try:
            connection.sock.settimeout(seconds)
            response = self._ask(connection, target, 0)
            if response.status != 200:
                raise PeerRefused(response.status)
            return _read(response, most, time.monotonic() + WHOLE_SECONDS), response.headers.get("Content-Type", "")
        except (OSError, http.client.HTTPException) as error:
            raise PeerFailed(str(error)) from error
        finally:
            connection.close()

    def _connect(self, url: str) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = tls_context(ca=self._ca)
            connection = http.client.HTTPSConnection(host, port, timeout=HEAD_SECONDS, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=HEAD_SECONDS)
        connection.response_class = BoundedResponse
        try:
            connection.connect()
            for option in _KEEPALIVE:
                connection.sock.setsockopt(*option)
        except (OSError, ValueError) as error:
            connection.close()
            raise _no_connection(error) from error
        return connection

    def _ask(
        self, connection: http.client.HTTPConnection, target: str, start: int, stop: int | None = None
    ) -> http.client.HTTPResponse:
        wanted = f"bytes={start}-" if start else ""
        if stop is not None:
            wanted = f"bytes={start}-{stop - 1}"
        asked = AskedOfPeer("GET", target, wanted, self._node)
        headers = {HEADER: self._seals.sign(asked, self._clock()), "Accept-Encoding": "identity"}
        if wanted:
            headers["Range"] = wanted
        if came_by := request_context.came_by():
            headers["Via"] = came_by
        try:
            connection.request("GET", target, headers=headers)
            return connection.getresponse()
        except TimeoutError as error:
            raise PeerSilent(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise PeerFailed(str(error)) from error


def _no_connection(error: OSError | ValueError) -> PeerFailed:
    lost = isinstance(error, TimeoutError) or (isinstance(error, OSError) and error.errno in _NO_WAY)
    return PeerUnreachable(str(error)) if lost else PeerFailed(str(error))


def _read(response: http.client.HTTPResponse, most: int, until: float) -> bytes:
    """Return up to ``most`` bytes of an answer, by the monotonic clock ``until`` when. Raises as a socket does."""
    data, reads = bytearray(), 0
    while len(data) < most and (piece := response.read1(min(_PIECE, most - len(data)))):
        data += piece
        reads += 1
        if is_in_small_pieces(reads, len(data)):
            raise http.client.HTTPException("an answer in pieces of a few bytes")
        if time.monotonic() > until:
            raise TimeoutError(f"no whole answer in {WHOLE_SECONDS:g} s")
    if len(data) < most and response.length:
        raise http.client.IncompleteRead(bytes(data), response.length)
    return bytes(data)


def _found(response: http.client.HTTPResponse, start: int, stop: int | None) -> tuple[int | None, int, int | None]:
    """Return the size of the whole, how many bytes to skip, and where they end. Raises PeerRefused."""
    length = response.headers.get("Content-Length", "")
    if response.status == 200:
        return int(length) if length.isdecimal() and len(length) < 19 else None, start, None
    if response.status == 206:
        part = parse_content_range(response.headers.get("Content-Range"))
        if part is not None and part[0] == start:
            return part[2], 0, None if stop is None else part[1]
    if response.status == 416 and start:
        # Nothing behind ``start``: what we have may be the whole, and the digest decides.
        return start, 0, None
    raise PeerRefused(response.status)
