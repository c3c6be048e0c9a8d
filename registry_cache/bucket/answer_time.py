"""Wait for the bucket no longer than so many seconds.

boto3 bounds each read, and an answer may have any number of them: bytes that drip, and 100 Continue again and again,
would hold whoever asks without an end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from registry_cache.bucket.errors import BucketAway


@dataclass(frozen=True, slots=True)
class AnswerTime:
    """``on_endless`` is called for each answer that is given up; its thread and its connection stay."""

    on_endless: Callable[[], None] = lambda: None

    def within(self, seconds: float, ask: Callable[[], Any]) -> Any:
        """Return what ``ask`` does, and raise what it raises; BucketAway after ``seconds``."""
        done: Future[Any] = Future()
        threading.Thread(target=_settle, args=(done, ask), name="bucket", daemon=True).start()
        try:
            return done.result(seconds)
        except TimeoutError:
            if done.done():
                raise
            self.on_endless()
            raise BucketAway(f"its answer has no end in {seconds:g} s") from None


def _settle(done: Future[Any], ask: Callable[[], Any]) -> None:
    try:
        done.set_result(ask())
    except BaseException as error:  # noqa: BLE001 — raised again in the thread that waits
        done.set_exception(error)
