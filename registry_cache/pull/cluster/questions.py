"""A question that several nodes have at once is asked of upstream by one of them, and all share the answer.

It stands inside of ``MachineFlights``: a node asks each question once at a time. Shared is what upstream said, a
no included. A node's own trouble with the network, and what it says of our account and its limits, are its own.
While Redis is away, the node to which the question belongs is asked (``placed_questions``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.questions import LONGEST_SECONDS, Asked, Questions
from registry_cache.errors import NotFound, NotHeld, RegistryError
from registry_cache.pull.cluster.placed_questions import PlacedQuestions
from registry_cache.pull.single_flight import NoteFormat
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.runtime.peer_question import SharedQuestion

# How often to say that a question that takes long is still under way.
_RENEW_SECONDS = 1.0
# Between two looks for the outcome: a HEAD takes a tenth of a second.
_FIRST_LOOK, _LAST_LOOK = 0.02, 0.1
# An outcome that is older than this when it is told may be from before some who wait had come: we were stopped.
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

    def __init__(self, questions: Questions | None = None, placed: PlacedQuestions | None = None) -> None:
        """``placed``: who asks what while Redis is away; without it, each node for itself."""
        self._questions = questions
        self._placed = placed

    def ask(self, question: SharedQuestion, work: Callable[[], _T], note: NoteFormat[_T]) -> Shared[_T]:
        """Return what ``work`` returns here, or returned on the node that had begun it when we came.

        Raises what ``work`` raises; of another node's errors NotFound alone.
        """
        if self._questions is None:
            return Shared(work(), is_ours=True)
        try:
            found = self._join(self._questions, question, note)
        except RedisAway:
            return self._ask_placed(question, work, note)
        if isinstance(found, Shared):
            return found
        return Shared(self._lead(self._questions, found, work, note) if found else work(), is_ours=True)

    def answer(self, question: SharedQuestion, work: Callable[[], _T], note: NoteFormat[_T]) -> dict[str, object]:
        """Return the outcome of ``work`` for another node, which does not see Redis; {} for what is not shared.

        No other node is asked in turn but by Redis, where it is here. Raises NotHeld where there is no cluster.
        """
        if self._questions is None or self._placed is None:
            raise NotHeld("this node shares no questions")
        questions = self._questions

        def ask() -> _T:
            try:
                found = self._join(questions, question, note)
            except RedisAway:
                return work()
            if isinstance(found, Shared):
                return found.value
            return self._lead(questions, found, work, note) if found else work()

        try:
            return _told(note, self._placed.here(question, ask, note))
        except NotFound as error:
            return _failed(error)
        except RegistryError as error:
            _log.debug("no answer for another node", question=str(question), error=error)
            return {}

    def _ask_placed(self, question: SharedQuestion, work: Callable[[], _T], note: NoteFormat[_T]) -> Shared[_T]:
        if self._placed is None:
            return Shared(work(), is_ours=True)
        outcome = self._placed.ask(question)
        shared = _read(outcome, note) if outcome else None
        return shared or Shared(self._placed.here(question, work, note), is_ours=True)

    def _join(self, questions: Questions, question: SharedQuestion, note: NoteFormat[_T]) -> Asked | Shared[_T] | None:
        """Return another node's answer, or our turn to ask; None for neither. Raises NotFound, RedisAway."""
        asked = questions.join(str(question))
        if asked is None or asked.is_ours:
            return asked
        with request_context.waiting():
            return self._wait(questions, asked, note)

    def _wait(self, questions: Questions, asked: Asked, note: NoteFormat[_T]) -> Shared[_T] | None:
        """Return another node's answer; None where we must ask. Raises NotFound, RedisAway."""
        until, pause = time.monotonic() + LONGEST_SECONDS, _FIRST_LOOK
        while time.monotonic() < until:
            outcome, is_under_way = questions.look(asked)
            if outcome is not None:
                return _read(outcome, note)
            if not is_under_way:
                return None
            time.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)
        return None

    def _lead(self, questions: Questions, asked: Asked, work: Callable[[], _T], note: NoteFormat[_T]) -> _T:
        done = threading.Event()
        renew = threading.Thread(target=self._renew, args=(questions, asked, done), name="a question", daemon=True)
        renew.start()
        outcome: dict[str, object] = {}
        answered = time.monotonic()
        try:
            value = work()
            answered, outcome = time.monotonic(), _told(note, value)
            return value
        except NotFound as error:
            answered, outcome = time.monotonic(), _failed(error)
            raise
        finally:
            done.set()
            _end(questions, asked, outcome if time.monotonic() - answered < _OLD_SECONDS else {})

    def _renew(self, questions: Questions, asked: Asked, done: threading.Event) -> None:
        try:
            while not done.wait(_RENEW_SECONDS):
                questions.renew(asked)
        except RedisAway:
            # Others then ask for themselves.
            return


# A node that has no others.
ALONE = NearQuestions()


def _told(note: NoteFormat[_T], value: _T) -> dict[str, object]:
    return {"record": note.write(value)}


def _failed(error: NotFound) -> dict[str, object]:
    return {"failed": error.to_record()}


def _end(questions: Questions, asked: Asked, outcome: dict[str, object]) -> None:
    try:
        questions.end(asked, outcome)
    except RedisAway as away:
        _log.debug("could not leave an outcome for other nodes", error=away)


def _read(outcome: Mapping[str, Any], note: NoteFormat[_T]) -> Shared[_T] | None:
    """Return the answer in another node's ``outcome``; None where it tells nothing to us. Raises NotFound."""
    if isinstance(outcome.get("failed"), dict):
        raise RegistryError.from_record(outcome["failed"])
    try:
        return Shared(note.read(outcome["record"]), is_ours=False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
