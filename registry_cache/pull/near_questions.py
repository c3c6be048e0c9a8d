"""A question that several nodes have at once is asked of upstream by one of them, and all share the answer.

It stands inside of ``MachineFlights``: a node asks each question once at a time. Shared is what upstream said, a
no included. A node's own trouble with the network, and what it says of our account and its limits, are its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.questions import Asked, Questions
from registry_cache.errors import NotFound, RegistryError
from registry_cache.pull.single_flight import NoteFormat
from registry_cache.runtime import upstream_wait
from registry_cache.runtime.log import Log

# So often a question that takes long is said to be under way still.
_RENEW_SECONDS = 1.0
# Between two looks for the outcome: a HEAD takes a tenth of a second.
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.1
# Longer than any question to upstream takes; who has waited for so long asks.
_WAIT_SECONDS = 20.0
# An outcome that is older when it could be told was had before some who wait had come: this process stood still.
_OLD_SECONDS = 0.5

_T = TypeVar("_T")

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class Shared(Generic[_T]):
    """An answer; ``is_ours``: this node has asked upstream for it, and kept what there is to keep."""

    value: _T
    is_ours: bool


class NearQuestions:
    """Asks for the cluster; without one, ``questions`` is None, each for itself."""

    def __init__(
        self,
        questions: Questions | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._questions = questions
        self._clock = clock
        self._pause = pause

    def ask(self, question: str, work: Callable[[], _T], note: NoteFormat[_T]) -> Shared[_T]:
        """Return what ``work`` returns here, or returned on the node that was at it when we came.

        Raises what ``work`` raises; of another node's errors NotFound alone.
        """
        if self._questions is None:
            return Shared(work(), is_ours=True)
        try:
            asked = self._questions.join(question)
            if asked and not asked.is_ours:
                with upstream_wait.waiting():
                    shared = self._wait(self._questions, asked, note)
                if shared:
                    return shared
                asked = None
        except RedisAway:
            asked = None
        return Shared(self._lead(self._questions, asked, work, note) if asked else work(), is_ours=True)

    def _wait(self, questions: Questions, asked: Asked, note: NoteFormat[_T]) -> Shared[_T] | None:
        """Return another node's answer; None where we must ask. Raises NotFound, RedisAway."""
        until, pause = self._clock() + _WAIT_SECONDS, _FIRST_LOOK
        while self._clock() < until:
            outcome, is_under_way = questions.look(asked)
            if outcome is not None:
                return _read(outcome, note)
            if not is_under_way:
                return None
            self._pause(pause)
            pause = min(2 * pause, _LAST_LOOK)
        return None

    def _lead(self, questions: Questions, asked: Asked, work: Callable[[], _T], note: NoteFormat[_T]) -> _T:
        done = threading.Event()
        renew = threading.Thread(target=self._renew, args=(questions, asked, done), name="a question", daemon=True)
        renew.start()
        outcome: dict[str, object] = {}
        answered = self._clock()
        try:
            value = work()
            answered, outcome = self._clock(), {"record": note.write(value)}
            return value
        except NotFound as error:
            answered, outcome = self._clock(), {"failed": error.to_record()}
            raise
        finally:
            done.set()
            _end(questions, asked, outcome if self._clock() - answered < _OLD_SECONDS else {})

    def _renew(self, questions: Questions, asked: Asked, done: threading.Event) -> None:
        try:
            while not done.wait(_RENEW_SECONDS):
                questions.renew(asked)
        except RedisAway:
            # Others then ask for themselves.
            return


# A node that has no others.
ALONE = NearQuestions()


def _end(questions: Questions, asked: Asked, outcome: dict[str, object]) -> None:
    try:
        questions.end(asked, outcome)
    except RedisAway as away:
        _log.debug("could not leave an outcome for other nodes", error=away)


def _read(outcome: dict[str, Any], note: NoteFormat[_T]) -> Shared[_T] | None:
    """Return the answer in another node's ``outcome``; None where it tells nothing to us. Raises NotFound."""
    if isinstance(outcome.get("failed"), dict):
        raise RegistryError.from_record(outcome["failed"])
    try:
        return Shared(note.read(outcome["record"]), is_ours=False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
