"""Leases and notes about blobs, in Redis: who asks the registry for a blob, who has it, how a leader failed.

    rc:1:lead:<digest>           sealed Lease               LEASE_SECONDS, renewed by the leader
    rc:1:have:<digest>           sealed Holder              HAVE_SECONDS
    rc:1:failed:<digest>:<id>    sealed LeaderNote          NOTE_SECONDS
    rc:1:bid:<digest>:<id>       sorted set: node → bytes   NOTE_SECONDS
    rc:1:epoch                   when Redis was last empty, by its own clock

Values are compared as they were read, so each change is a compare-and-set; every script has one key. What does not
verify by the cluster's secret counts as not there, and is read no further than MOST_BYTES: anybody may have written it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from registry_cache.cluster.redis_address import Command
from registry_cache.errors import RegistryError
from registry_cache.policy.leader_election import LEASE_SECONDS, Holder, LeaderNote, Lease
from registry_cache.runtime.seals import Seals

PREFIX = "rc:1:"
NOTE_SECONDS = 30
# While it lasts the others ask the holder before the registry. A holder that has evicted the blob says so at once.
HAVE_SECONDS = 24 * 3600
# Downloads that a report names.
MOST_LISTED = 1000
# Of one value; ours have a few hundred bytes. A stranger's may have half a GiB, and a worker has 200 MB.
MOST_BYTES = 64 * 1024
# How far apart two nodes may be about Redis' clock, which each compares its own to every few seconds. A note that is
# older than it can be was put back by a stranger.
CLOCK_SECONDS = 5.0

# Compare and set: ARGV holds what is there ("" for nothing), the new value, its life in milliseconds.
TAKE = (
    f"if redis.call('GETRANGE', KEYS[1], 0, {MOST_BYTES - 1}) ~= ARGV[1] then return 0 end "
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1"
)
# Extend our own, put it back where it is gone; return what is there.
_RENEW = (
    f"local now = redis.call('GETRANGE', KEYS[1], 0, {MOST_BYTES - 1}) "
    "if now ~= '' and now ~= ARGV[1] then return now end "
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return ARGV[1]"
)
# Remove it where it is still what we put there.
REMOVE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
# Seconds since Redis was last found empty.
_EPOCH_AGE = (
    "local time = redis.call('TIME') local now = time[1] + time[2] / 1000000 "
    "local made = redis.call('GET', KEYS[1]) "
    "if not made then made = now redis.call('SET', KEYS[1], string.format('%.6f', now)) end "
    "return string.format('%.6f', now - (tonumber(made) or 0))"
)
# The node with the highest bid; no name of ours is longer.
_BEST = (
    "local best = redis.call('ZREVRANGE', KEYS[1], 0, 0)[1] if best and #best <= 255 then return best end return false"
)
_BID = "redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) redis.call('EXPIRE', KEYS[1], ARGV[3]) return 1"

# Answered by its age in seconds; begins one where there is none.
EPOCH_COMMAND: Command = ("EVAL", _EPOCH_AGE, 1, f"{PREFIX}epoch")

_LIFE_MS = int(LEASE_SECONDS * 1000)


def hashed_key(kind: str, name: str) -> str:
    """Return the key of something of a ``kind`` whose ``name`` may have any length and any letters."""
    return f"{PREFIX}{kind}:{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:32]}"


def read(key: str, most: int = MOST_BYTES) -> Command:
    """Return the command that is answered by the value of ``key``, b"" for none; a longer one is cut."""
    return ("GETRANGE", key, 0, most - 1)


def is_recent(found: Mapping[str, object], now: float, seconds: float) -> bool:
    """Return whether a sealed document was written no longer ago than such ones are there; ``now``: by Redis' clock."""
    at = found.get("at")
    return isinstance(at, int | float) and -CLOCK_SECONDS <= now - at <= seconds + CLOCK_SECONDS


class AsksRedis(Protocol):
    """What sends commands."""

    def ask(self, *commands: Command) -> list[Any]:
        """Return the answers. Raises RedisAway."""


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What Redis says of a blob. ``raw``: the lease as it lies there, whoever wrote it, for a compare-and-set."""

    lease: Lease | None
    raw: bytes
    holder: Holder | None
    epoch_age: float
    note: LeaderNote | None = None
    best: str | None = None


class Leases:
    """Leases of the node ``node``, which peers reach at ``url``; ``clock``: the one on which all nodes agree."""

    def __init__(
        self, redis: AsksRedis, seals: Seals, node: str, url: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._redis = redis
        self._clock = clock
        self._seals = seals
        self.node = node
        self.url = url

    def new(self, upstream: str, repository: str) -> Lease:
        """Return a lease that nobody holds yet."""
        return Lease(self.node, self.url, secrets.token_hex(16), upstream, repository)

    def look(self, digest: str, followed: str) -> LookedUp:
        """Return what is known; ``followed``: the lease whose leader's note and bids are wanted, "" for none."""
        lead, have = _lead(digest), _held(digest)
        commands: list[Command] = [read(lead), ("PTTL", lead), read(have), EPOCH_COMMAND]
        if followed:
            commands.append(read(_failed(digest, followed)))
            commands.append(script(_BEST, _bid(digest, followed)))
        raw, left, holder, age, *rest = self._redis.ask(*commands)
        return LookedUp(
            self._lease(lead, raw, left),
            raw or b"",
            self._holder(have, holder),
            float(age),
            self._note(_failed(digest, followed), rest[0]) if rest else None,
            _name(rest[1]) if rest else None,
        )

    def take(self, digest: str, raw: bytes, lease: Lease) -> bool:
        """Put ``lease`` in the place of ``raw``, as it was looked up; False where something else is there by now."""
        [taken] = self._redis.ask(script(TAKE, _lead(digest), raw, self._sealed(digest, lease), _LIFE_MS))
        return bool(taken)

    def renew(self, leases: Sequence[tuple[str, Lease]]) -> list[bool]:
        """Extend each lease of a digest, or put it back; False for each that is another's by now."""
        values = [(_lead(digest), self._sealed(digest, lease)) for digest, lease in leases]
        found = self._redis.ask(*(script(_RENEW, key, value, _LIFE_MS) for key, value in values))
        return [there == value for there, (_, value) in zip(found, values, strict=True)]

    def read(self, digests: Sequence[str]) -> list[Lease | None]:
        """Return the lease of each digest as it is now."""
        commands = [command for digest in digests for command in (read(_lead(digest)), ("PTTL", _lead(digest)))]
        found = self._redis.ask(*commands)
        return [
            self._lease(_lead(digest), raw, left)
            for digest, raw, left in zip(digests, found[::2], found[1::2], strict=True)
        ]

    def all(self) -> dict[str, Lease]:
        """Return the leases of all nodes by their digests, up to MOST_LISTED. Raises RedisAway."""
        found: dict[str, Lease] = {}
        cursor = 0
        while len(found) < MOST_LISTED:
            [(cursor, keys)] = self._redis.ask(("SCAN", cursor, "MATCH", _lead("*"), "COUNT", 1000))
            digests = [key.decode(errors="replace").removeprefix(_lead("")) for key in keys]
            leases = self.read(digests) if digests else []
            found |= {digest: lease for digest, lease in zip(digests, leases, strict=True) if lease}
            if not int(cursor):
                break
        return found

    def release(self, digest: str, lease: Lease, *, is_committed: bool = False, note: LeaderNote | None = None) -> bool:
        """End our lease, and say how: the blob is here now, or what the leader's end was. False where it was lost."""
        commands: list[Command] = []
        if is_committed:
            commands.append(self._have(digest))
        if note:
            commands.append(self._leave(digest, lease, note))
        commands.append(script(REMOVE, _lead(digest), self._sealed(digest, lease)))
        return bool(self._redis.ask(*commands)[-1])

    def replace_after_wrong_bytes(self, digest: str, old: Lease, new: Lease) -> bool:
        """Say that the bytes brought under ``old`` were wrong, and go on under ``new``; False where it is lost."""
        note = self._leave(digest, old, LeaderNote(wrong_bytes=True, successor=new.id))
        take = script(TAKE, _lead(digest), self._sealed(digest, old), self._sealed(digest, new), _LIFE_MS)
        return bool(self._redis.ask(note, take)[1])

    def holder(self, digest: str) -> Holder | None:
        """Return a node that has the whole. Raises RedisAway."""
        key = _held(digest)
        return self._holder(key, self._redis.ask(read(key))[0])

    def announce(self, digest: str) -> None:
        """Say that the whole is here. Raises RedisAway."""
        self._redis.ask(self._have(digest))

    def bid(self, digest: str, followed: str, size: int) -> None:
        """Say that ``size`` bytes are here, for who takes the place of the leader of ``followed``."""
        self._redis.ask(script(_BID, _bid(digest, followed), self.node, size, NOTE_SECONDS))

    def _have(self, digest: str) -> Command:
        key = _held(digest)
        return ("SET", key, self._seals.seal(key, {"node": self.node, "url": self.url}), "EX", HAVE_SECONDS)

    def _sealed(self, digest: str, lease: Lease) -> bytes:
        document = {"node": lease.node, "url": lease.url, "id": lease.id}
        return self._seals.seal(_lead(digest), {**document, "upstream": lease.upstream, "repository": lease.repository})

    def _leave(self, digest: str, lease: Lease, note: LeaderNote) -> Command:
        key = _failed(digest, lease.id)
        error = note.error.to_record() if note.error else None
        document = {"wrong": note.wrong_bytes, "next": note.successor, "error": error, "at": self._clock()}
        document |= {"upstream": lease.upstream, "repository": lease.repository}
        sealed = self._seals.seal(key, document)
        return ("SET", key, sealed, "EX", NOTE_SECONDS)

    def _lease(self, key: str, raw: bytes | None, left: int) -> Lease | None:
        try:
            return Lease(**found, left=left / 1000) if (found := self._seals.open(key, raw)) else None
        except TypeError:
            return None

    def _holder(self, key: str, raw: bytes | None) -> Holder | None:
        try:
            return Holder(**found) if (found := self._seals.open(key, raw)) else None
        except TypeError:
            return None

    def _note(self, key: str, raw: bytes | None) -> LeaderNote | None:
        found = self._seals.open(key, raw)
        if not found or not is_recent(found, self._clock(), NOTE_SECONDS):
            return None
        error = found.get("error")
        return LeaderNote(
            RegistryError.from_record(error) if isinstance(error, dict) else None,
            bool(found.get("wrong")),
            str(found.get("next")),
            str(found.get("upstream")),
            str(found.get("repository")),
        )


def _held(digest: str) -> str:
    return f"{PREFIX}have:{digest}"


def _lead(digest: str) -> str:
    return f"{PREFIX}lead:{digest}"


def _failed(digest: str, lease_id: str) -> str:
    return f"{PREFIX}failed:{digest}:{lease_id}"


def _bid(digest: str, lease_id: str) -> str:
    return f"{PREFIX}bid:{digest}:{lease_id}"


def script(text: str, key: str, *arguments: str | bytes | float) -> Command:
    """Return the command that runs a script of one key."""
    return ("EVAL", text, 1, key, *arguments)


def _name(found: object) -> str | None:
    return found.decode(errors="replace") if isinstance(found, bytes) else None
