"""Bytes that cannot be kept: a full or failing disk never costs a client its pull (byte-safety rule 9)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from registry_cache.errors import RegistryError, UpstreamCorrupt, UpstreamError, UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.download import Body, Source, Tries
from registry_cache.pull.feed import Cut


class UncachedBlob:
    """A blob on its way through: ``size`` in bytes, None where upstream does not say. Close it."""

    def __init__(self, digest: Digest, source: Source, announced: int | None = None) -> None:
        """Ask upstream for the whole; ``announced`` is the size that the client was told already, if any.

        Raises UpstreamError and its kinds, NotFound, Denied, TooManyRequests.
        """
        self._digest = digest
        self._source = source
        self._tries = Tries(time.monotonic, time.sleep)
        body = source.open(0, False)
        self._body: Body | None = body
        self.size = body.size if announced is None else announced

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop``, None for the end; the last one after all are verified.

        The whole is fetched and hashed whatever the range: an unverified part could be wrong. Raises Cut.
        """
        hasher = self._digest.hasher()
        at, held = 0, b""
        try:
            for chunk in self._resumed():
                hasher.update(chunk)
                part = chunk[max(0, start - at) : len(chunk) if stop is None else max(0, stop - at)]
                at += len(chunk)
                if part:
                    yield held + part[:-1]
                    held = part[-1:]
                # Also where nothing is sent, as before ``start``: others of a gevent worker must have their turn.
                time.sleep(0)
        except RegistryError as error:
            raise Cut(error) from error
        if not self._digest.matches(hasher):
            raise Cut(UpstreamCorrupt(f"upstream sent bytes that are not the blob {self._digest}"))
        if self.size not in (None, at) or (stop is not None and at < stop):
            raise Cut(UpstreamUnavailable(f"{self._digest} has {at} bytes, upstream had announced {self.size}"))
        yield held

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _resumed(self) -> Iterator[bytes]:
        """Yield the bytes of the whole; where they break off, those behind them from a further request."""
        at = 0
        while self._body is not None:
            before, size = at, self._body.size
            try:
                for chunk in self._body:
                    at += len(chunk)
                    yield chunk
                if size is None or at >= size:
                    return
                raise UpstreamUnavailable(f"upstream ended {self._digest} after {at} of {size} bytes")
            except (UpstreamUnavailable, UpstreamTimeout) as error:
                self.close()
                self._body = self._again(at, at > before, error)

    def _again(self, at: int, progress: bool, error: UpstreamError) -> Body:
        if progress:
            self._tries.progressed()
        while True:
            self._tries.again(error)
            try:
                return self._source.open(at, True)
            except (UpstreamUnavailable, UpstreamTimeout) as failure:
                error = failure
