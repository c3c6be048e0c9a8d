"""What somebody who writes to Redis, and does not know the secret, can do: cost transfers, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import MOST_BYTES, NOTE_SECONDS, Leases, hashed_key
from registry_cache.cluster.membership import MEMORY_SECONDS, MOST_NODES, Membership
from registry_cache.cluster.notes import Notes
from registry_cache.cluster.questions import LONGEST_SECONDS, Questions
from registry_cache.errors import UpstreamUnavailable
from registry_cache.policy.leader_election import LeaderNote
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.single_flight import NoteFormat
from registry_cache.runtime.peer_question import SharedQuestion
from tests.harness.near_rig import SEALS, SharedRedis
from tests.harness.redis_server import RedisServer

pytestmark = pytest.mark.once

QUESTION = SharedQuestion("tag", "docker.io", "library/app", "1")
FLIGHT = hashed_key("flight", str(QUESTION))
TEXT: NoteFormat[str] = NoteFormat(lambda text: {"text": text}, lambda note: str(note["text"]))
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def redis(server: RedisServer) -> Iterator[SharedRedis]:
    server.ask("FLUSHALL")
    found = SharedRedis(server)
    yield found
    found.close()


def asker(redis: SharedRedis, ahead: float = 0.0) -> NearQuestions:
    return NearQuestions(Questions(redis, SEALS, "one", lambda: time.time() + ahead))


def everything(redis: SharedRedis) -> dict[bytes, bytes]:
    """What lies in Redis now, for a stranger to put it back later."""
    [keys] = redis.ask(("KEYS", "rc:1:*"))
    return {key: redis.ask(("GET", key))[0] for key in keys}


def put_back(redis: SharedRedis, saved: dict[bytes, bytes]) -> None:
    for key, value in saved.items():
        redis.ask(("SET", key, value))


@pytest.mark.parametrize("with_its_end", [True, False])
def test_an_old_question_is_no_answer(redis: SharedRedis, with_its_end: bool) -> None:
    saved: dict[bytes, bytes] = {}

    def work() -> str:
        saved.update(everything(redis))
        return "old"

    asker(redis).ask(QUESTION, work, TEXT)
    if with_its_end:
        saved |= everything(redis)
    put_back(redis, saved)

    found = asker(redis, ahead=LONGEST_SECONDS + 10).ask(QUESTION, lambda: "new", TEXT)
    assert found.value == "new"


def test_an_old_end_of_a_download_is_none(redis: SharedRedis) -> None:
    leases = Leases(redis, SEALS, "one", "http://one")
    lease = leases.new("docker.io", "library/app")
    assert leases.take(DIGEST, b"", lease)
    leases.release(DIGEST, lease, note=LeaderNote(UpstreamUnavailable("down"), upstream="docker.io"))
    put_back(redis, everything(redis))

    assert leases.look(DIGEST, lease.id).note is not None
    later = Leases(redis, SEALS, "two", "http://two", lambda: time.time() + NOTE_SECONDS + 10)
    assert later.look(DIGEST, lease.id).note is None


def test_a_value_is_read_no_further_than_ours_are_long(redis: SharedRedis) -> None:
    leases = Leases(redis, SEALS, "one", "http://one")
    huge = "x" * (3 * MOST_BYTES)
    for key in (FLIGHT, f"rc:1:lead:{DIGEST}", f"rc:1:have:{DIGEST}", hashed_key("tag", "x"), "rc:1:node:one"):
        redis.ask(("SET", key, huge))
    redis.ask(("SADD", "rc:1:nodes", huge, "one"), ("ZADD", f"rc:1:bid:{DIGEST}:1", 5, huge))

    found = leases.look(DIGEST, "1")
    assert (len(found.raw), found.lease, found.holder, found.best) == (MOST_BYTES, None, None, None)
    # It is in nobody's way.
    lease = leases.new("docker.io", "library/app")
    assert leases.take(DIGEST, found.raw, lease)
    assert leases.renew([(DIGEST, lease)]) == [True]
    assert asker(redis).ask(QUESTION, lambda: "new", TEXT).value == "new"
    assert Notes(redis, SEALS, "tag").get("x") is None
    assert Membership(redis, SEALS, "one", "http://one").look() == ([], ["one"])


def test_names_without_number(redis: SharedRedis) -> None:
    one, two = (Membership(redis, SEALS, name, f"http://{name}") for name in ("one", "two"))
    one.beat()
    two.beat()
    one.remember()
    redis.ask(("SADD", "rc:1:nodes", *(f"stranger {number}" for number in range(10 * MOST_NODES))))
    for number in range(50):
        redis.ask(("SET", f"rc:1:node:stranger {number}", "nobody's"))

    nodes, strangers = one.look()
    assert [each.name for each in nodes] == ["one", "two"]
    assert set(strangers) <= {f"stranger {number}" for number in range(50)}


def test_a_life_without_an_end_is_no_time_to_come(redis: SharedRedis) -> None:
    one = Membership(redis, SEALS, "one", "http://one")
    one.beat()
    redis.ask(("PEXPIRE", "rc:1:node:one", int(10**6 * MEMORY_SECONDS)))
    [found], _ = one.look()
    assert found.seen_at <= time.time()


@pytest.mark.parametrize(
    ("key", "ask"),
    [
        (FLIGHT, lambda redis: Questions(redis, SEALS, "one").join(str(QUESTION))),
        (f"rc:1:lead:{DIGEST}", lambda redis: Leases(redis, SEALS, "one", "http://one").look(DIGEST, "")),
        ("rc:1:epoch", lambda redis: Leases(redis, SEALS, "one", "http://one").look(DIGEST, "")),
        ("rc:1:nodes", lambda redis: Membership(redis, SEALS, "one", "http://one").beat()),
        (hashed_key("tag", "x"), lambda redis: Notes(redis, SEALS, "tag").get("x")),
    ],
)
def test_what_has_another_type_is_in_the_way_once(
    redis: SharedRedis, key: str, ask: Callable[[SharedRedis], object]
) -> None:
    redis.ask(("HSET", key, "a", "b"))
    with pytest.raises(RedisAway):
        ask(redis)
    # Not for all that is asked at that moment, and not again.
    assert redis.ask(("PING",)) == [True]
    ask(redis)
