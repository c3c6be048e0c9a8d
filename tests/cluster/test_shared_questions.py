"""Questions of several nodes over a real Redis, with the nodes in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from registry_cache.cluster.questions import MAX_NOTE_SIZE
from registry_cache.errors import BlobUnknown, Denied, RegistryError
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.single_flight import NoteFormat
from registry_cache.runtime.peer_question import SharedQuestion
from tests.harness.near_rig import SharedRedis
from tests.harness.redis_server import RedisServer
from tests.harness.waiting import eventually

pytestmark = pytest.mark.once

QUESTION = SharedQuestion("tag", "docker.io", "library/app", "1")
TEXT: NoteFormat[str] = NoteFormat(lambda text: {"text": text}, lambda note: str(note["text"]))


class Registry:
    """What the nodes ask: it answers `asked` questions by `answer`, once `gate` is set."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked = 0
        self.answer: str | RegistryError = "yes"

    def ask(self) -> str:
        self.asked += 1
        assert self.gate.wait(60)
        if isinstance(self.answer, RegistryError):
            raise self.answer
        return self.answer


class Site:
    """Three nodes that ask one `registry`."""

    def __init__(self, server: RedisServer) -> None:
        self.redis = [SharedRedis(server) for _ in range(3)]
        self.nodes = [NearQuestions(each.questions(f"node{number}")) for number, each in enumerate(self.redis)]
        self.registry = Registry()
        self.pool = ThreadPoolExecutor(3)

    def ask_together(self) -> list[Future[str]]:
        """Let the first node ask, then the others, and the registry answer once these wait for it."""
        futures = [self._begin(self.nodes[0])]
        eventually(lambda: self.registry.asked == 1)
        before = [each.asked for each in self.redis[1:]]
        futures += [self._begin(node) for node in self.nodes[1:]]
        # To join, and a first look.
        eventually(lambda: all(each.asked >= was + 2 for each, was in zip(self.redis[1:], before, strict=True)))
        self.registry.gate.set()
        return futures

    def _begin(self, node: NearQuestions) -> Future[str]:
        return self.pool.submit(lambda: node.ask(QUESTION, self.registry.ask, TEXT).value)


@pytest.fixture
def site(empty_server: RedisServer) -> Iterator[Site]:
    found = Site(empty_server)
    yield found
    found.registry.gate.set()
    found.pool.shutdown()
    for each in found.redis:
        each.close()


def outcome(future: Future[str]) -> str | type[BaseException]:
    error = future.exception(60)
    return type(error) if error else future.result()


@pytest.mark.parametrize(
    ("answer", "outcomes", "asked"),
    [
        ("yes", ["yes"] * 3, 1),
        (BlobUnknown("no"), [BlobUnknown] * 3, 1),
        # A node's own account: others find out for themselves.
        (Denied("not you"), [Denied] * 3, 3),
        # Too long for Redis: a list of thousands.
        ("y" * MAX_NOTE_SIZE, ["y" * MAX_NOTE_SIZE] * 3, 3),
    ],
    ids=["an answer", "a no", "a denial", "a long answer"],
)
def test_what_nodes_share(site: Site, answer: str | RegistryError, outcomes: list[object], asked: int) -> None:
    site.registry.answer = answer
    futures: list[Future[str]] = site.ask_together()
    assert [outcome(future) for future in futures] == outcomes
    assert site.registry.asked == asked


def test_a_node_that_does_not_see_redis_asks_by_itself(site: Site) -> None:
    site.redis[0].is_away = True
    site.registry.gate.set()
    for _ in range(2):
        assert site.nodes[0].ask(QUESTION, site.registry.ask, TEXT).value == "yes"
    assert site.registry.asked == 2
