"""One request of a download, for a span of the blob, and one that is made before it is its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from registry_cache.errors import RegistryError
from registry_cache.pull.source import STALL_TIMEOUT_SECONDS, RangeResponse
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store.piece_file import PieceClaim

_log = Log(__name__)


@dataclass(slots=True)
class Span:
    """What upstream answered to a request for the bytes from ``start`` to ``stop``, None for the blob's end.

    ``claim``: the right to ask for them, None where nothing was claimed. Close it.
    """

    body: RangeResponse
    start: int
    stop: int | None
    claim: PieceClaim | None

    @property
    def end(self) -> int | None:
        """Where it ends, as asked; None where upstream goes on as far as it likes."""
        stop = self.body.stop
        return self.stop if self.stop is not None and stop is not None and stop <= self.stop else None

    def free(self) -> None:
        """Let others have what was claimed."""
        claim, self.claim = self.claim, None
        if claim:
            claim.close()

    def close(self) -> None:
        self.body.close()
        self.free()


class SpanAhead:
    """The next span, asked for by a thread of its own while the one before it is read."""

    def __init__(self, name: str, ask: Callable[[], Span | None]) -> None:
        self._ask = ask
        self._mutex = threading.Lock()
        self._done = threading.Event()
        self._span: Span | None = None
        self._is_dropped = False
        request_context.start_thread(name, self._run)

    def take(self) -> Span | None:
        """Wait for the answer and return it; None where there is none, whose reason is to be asked for again."""
        self._done.wait(STALL_TIMEOUT_SECONDS)
        return self._drop()

    def close(self) -> None:
        """Drop the answer, now or when it comes."""
        if span := self._drop():
            span.close()

    def _drop(self) -> Span | None:
        """Return what has come; `_run` closes what comes later."""
        with self._mutex:
            self._is_dropped = True
            span, self._span = self._span, None
        return span

    def _run(self) -> None:
        span = None
        try:
            span = self._ask()
        except (RegistryError, OSError) as error:
            _log.debug("could not ask for the next span", error=error)
        finally:
            with self._mutex:
                if not self._is_dropped:
                    self._span, span = span, None
            if span:
                span.close()
            self._done.set()
