"""Which nodes there are: each says every few seconds that it is there, and what it does.

rc:1:node:<name>    sealed: what the node says of itself   MEMBER_SECONDS
rc:1:nodes          set of names; one that says nothing for long is still listed, as not seen
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import EPOCH_COMMAND, PREFIX, AsksRedis, read, script
from registry_cache.runtime.log import Log
from registry_cache.runtime.seals import Seals

BEAT_SECONDS = 5.0
# A node that has said nothing for so long is shown as not seen; after MEMORY_SECONDS it is forgotten.
MEMBER_SECONDS = 15.0
MEMORY_SECONDS = 24 * 3600
# After its first minute a node looks only once a minute who the others are, for when Redis is away.
_FIRST_BEATS = _BEATS_A_LOOK = 12
# Of more nodes than this it looks more rarely: each worker reads what all say, so that Redis would be busy with it.
_NODES_A_LOOK = 100

# Names that are looked at. A million that a stranger has written would stop a worker for half a minute.
MOST_NODES = 1000
_NAMES = (
    "local names = {} for _, name in ipairs(redis.call('SRANDMEMBER', KEYS[1], ARGV[1])) do "
    "if #name <= 255 then names[#names + 1] = name end end return names"
)

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """A node as it described itself at ``seen_at``, by our clock; ``facts`` are for people."""

    name: str
    url: str
    seen_at: float
    facts: Mapping[str, object] = field(default_factory=dict)


def since_start() -> float:
    """Return the seconds since this machine was started, by a clock that nobody sets."""
    # Not the monotonic clock: that stands still while the machine sleeps.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Membership:
    """Says that this node is there, from each of its workers; ``facts`` returns what to tell about it."""

    def __init__(
        self,
        redis: AsksRedis,
        seals: Seals,
        name: str,
        url: str,
        facts: Callable[[], Mapping[str, object]] = dict,
        now: Callable[[], float] = time.time,
        exchange: Callable[[], None] = lambda: None,
        steady: Callable[[], float] = since_start,
    ) -> None:
        """``exchange``: called after each beat, for what nodes tell each other as often. May raise RedisAway."""
        self._exchange = exchange
        self._redis = redis
        self._seals = seals
        self._name = name
        self._url = url
        self._facts = facts
        self._now = now
        self._steady = steady
        self._has_namesake = False
        self._known: list[ClusterNode] = []
        # Redis' clock, less the seconds since this machine was started; None before Redis was seen.
        self._redis_at_start: float | None = None

    def begin(self) -> None:
        """Say it from now on, for as long as the process lives."""
        threading.Thread(target=self._run, name="membership", daemon=True).start()

    def beat(self) -> None:
        """Say it once, and look whether another node has our name. Raises RedisAway."""
        key = _key(self._name)
        document = {"url": self._url, "facts": dict(self._facts())}
        sealed = self._seals.seal(key, document)
        # The epoch as well: where the cluster starts, nobody waits for it later.
        before, left, time_there, *_ = self._redis.ask(
            read(key),
            ("PTTL", key),
            ("TIME",),
            ("SET", key, sealed, "EX", MEMORY_SECONDS),
            ("SADD", f"{PREFIX}nodes", self._name),
            EPOCH_COMMAND,
        )
        self._set_clock(time_there)
        found = self._member(self._name, before, left)
        is_namesake = found is not None and found.url != self._url and self._now() - found.seen_at < MEMBER_SECONDS
        if is_namesake and not self._has_namesake and found:
            _log.error("another node has our name: give each its own cluster.node", node=self._name, url=found.url)
        self._has_namesake = is_namesake

    def redis_time(self) -> float:
        """Return Redis' clock, in seconds since the epoch. Raises RedisAway."""
        [found] = self._redis.ask(("TIME",))
        self._set_clock(found)
        return self.clock()

    def clock(self) -> float:
        """Return the time on which all nodes agree, in seconds since the epoch: Redis', as it was when last asked.

        By a clock that nobody sets from then on: nodes would refuse each other where ours jumps, until the next beat.
        """
        return self._now() if self._redis_at_start is None else self._redis_at_start + self._steady()

    def _set_clock(self, time_there: Sequence[int | bytes]) -> None:
        self._redis_at_start = int(time_there[0]) + int(time_there[1]) / 1_000_000 - self._steady()

    def look(self) -> tuple[list[ClusterNode], list[str]]:
        """Return all nodes, by name, and the names that nobody with our secret vouches for. Raises RedisAway.

        Where there are more than MOST_NODES names, of which most are none of ours, some of them.
        """
        [found] = self._redis.ask(script(_NAMES, f"{PREFIX}nodes", MOST_NODES))
        # Those that are known are not lost among the names of a stranger.
        known = {self._name, *(node.name for node in self._known)}
        names = sorted({name.decode(errors="replace") for name in found} | known)
        asked = [command for name in names for command in (read(_key(name)), ("PTTL", _key(name)))]
        found = self._redis.ask(*asked) if asked else []
        there = [
            (name, self._member(name, value, left), value)
            for name, value, left in zip(names, found[::2], found[1::2], strict=True)
        ]
        return [node for _, node, _ in there if node], [name for name, node, value in there if value and not node]

    def url_of(self, name: str) -> str | None:
        """Return where the node called ``name`` said to be; None for nobody with our secret. Raises RedisAway."""
        [found] = self._redis.ask(read(_key(name)))
        node = self._member(name, found, 0)
        return node.url if node else None

    def known(self) -> list[ClusterNode]:
        """Return the other nodes that were there when Redis last answered; asks nobody."""
        return self._known

    def remember(self) -> None:
        """Look for ``known``. Raises RedisAway."""
        now = self._now()
        others = (node for node in self.look()[0] if node.name != self._name)
        self._known = [node for node in others if now - node.seen_at < MEMBER_SECONDS]

    def _member(self, name: str, value: bytes | None, left: int) -> ClusterNode | None:
        found = self._seals.open(_key(name), value)
        # By Redis' clock, which is the same for all: a node's own may be minutes off. A stranger may have made its life
        # longer.
        seen_at = self._now() - max(0.0, MEMORY_SECONDS - left / 1000)
        try:
            return ClusterNode(name, str(found["url"]), seen_at, found["facts"]) if found else None
        except (KeyError, TypeError):
            return None

    def _run(self) -> None:
        due = 0
        for beat in itertools.count():
            try:
                self.beat()
                if beat >= due:
                    self.remember()
                    due = beat + beats_to_look(beat, len(self._known))
                self._exchange()
            except RedisAway as away:
                _log.debug("could not say that this node is there", error=away)
            except Exception:  # noqa: BLE001 — without this thread the node would seem gone
                _log.exception("saying that this node is there ended with a defect")
            time.sleep(BEAT_SECONDS)


def beats_to_look(beat: int, nodes: int) -> int:
    """Return after how many beats a worker that knows so many nodes looks again who they are."""
    return (1 if beat < _FIRST_BEATS else _BEATS_A_LOOK) * times_as_rarely(nodes)


def times_as_rarely(nodes: int) -> int:
    """Return how many times as rarely a worker that knows so many nodes looks who they are, as one that knows few."""
    return max(1, nodes // _NODES_A_LOOK)


def _key(name: str) -> str:
    return f"{PREFIX}node:{name}"
