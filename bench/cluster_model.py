"""What a cluster of many nodes would cost: arithmetic over what three real ones are seen to do.

    python -m bench.cluster --simulate [--out bench/results/cluster-simulation.txt]

Nothing here has run with a thousand nodes. Redis' commands for a blob, a tag and a hit are counted on three, those of
idle nodes on parts of three (tests/bench/test_cluster_model.py holds them to it); those of renewals, and the bucket's
requests, are read from the code; and the rest is lines, round trips and processor time that `Machines` names: change
them there. The table says which of the bounds comes first, and at how many nodes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from registry_cache.cluster.membership import beats_to_look

MIB, GIB = 1024**2, 1024**3
NODES, CLIENTS = (10, 100, 1000), 10_000

# Commands that Redis executes, each in a script counted. Of a cold blob: the node that leads it, and each other one.
LEAD, FETCH = 14, 9
# For each second that a transfer lasts: the leader's renewal, a follower's look.
LEAD_SECOND, FOLLOW_SECOND = 3, 2
# A tag that one node asks about; what each worker says of itself every so many seconds, and one of a node about pins.
TAG, BEAT, PINS, BEAT_SECONDS = 7, 8, 1, 5.0
# A worker's look at who is there: once, and for each node. So many beats apart, and more of more than 100 nodes.
LOOK, LOOK_NODE = 2, 2
# Of the bucket, by the one node that leads: for each blob a look, the blob and its membership; a part more each 64 MiB.
BUCKET_BLOB, BUCKET_PART, PART = 3, 1, 64 * MIB


@dataclass(frozen=True, slots=True)
class Machines:
    """What is assumed of machines and lines; bytes and seconds."""

    line: float = 1e9 / 8  # from the registry, for all nodes together
    network: float = 10e9 / 8  # of a node, each way
    workers: int = 2  # and as many cores
    redis_commands: float = 100_000.0  # a second, of one core
    round_trip: float = 0.0005  # between nodes, and to Redis
    peer_request: float = 0.002  # of a core, to answer a signed request's head; a hit by gunicorn is 0.001
    peer_head: float = 2.0  # after which a silent peer is given up (cluster's own bound)
    peer_cpu: float = 0.20 / 1e9  # of a core for each byte that a node gives (bench/results/cluster.txt)
    question: float = 0.2  # from a HEAD to the registry's answer
    readers: int = 2000  # server.readers: of one worker, of downloads under way


@dataclass(frozen=True, slots=True)
class Image:
    """A new image that all clients pull at once: a rollout. ``spread``: seconds between the first and the last."""

    blobs: int = 10
    blob_size: int = 50 * MIB
    spread: float = 60.0

    @property
    def size(self) -> int:
        return self.blobs * self.blob_size


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one rollout over ``nodes``, behind a balancer that takes turns; ``by_url``: one that hashes the URL."""

    nodes: int
    registry_bytes: float
    registry_gets: int
    registry_heads: int
    redis_idle: float
    redis_first_second: float
    redis_total: float
    bucket_requests: int
    peer_bytes: float
    line_seconds: float
    leader_seconds: float
    client_seconds: float
    client_seconds_by_url: float
    first_byte: float

    @property
    def seconds(self) -> float:
        """Until the last client has all: the slowest of the lines on the way."""
        return max(self.line_seconds, self.leader_seconds, self.client_seconds)


ROLLOUT, ASSUMED = Image(), Machines()


def cost(nodes: int, clients: int = CLIENTS, image: Image = ROLLOUT, machines: Machines = ASSUMED) -> Cost:
    """Return what a rollout costs."""
    others = nodes - 1
    line_seconds = image.size / machines.line
    # Followers read from the one that leads, each at the pace of the line if the leader's network lets them.
    leader_seconds = others * image.blob_size / machines.network
    lasts = max(line_seconds, leader_seconds)
    heads = min(clients, round(image.spread / machines.question))
    commands = image.blobs * (LEAD + others * FETCH)
    per_second = image.blobs * (LEAD_SECOND + others * FOLLOW_SECOND)
    return Cost(
        nodes=nodes,
        registry_bytes=image.size,
        registry_gets=image.blobs + 1,
        registry_heads=heads,
        redis_idle=idle(nodes, machines),
        redis_first_second=commands + per_second,
        redis_total=commands + per_second * lasts + clients * TAG,
        bucket_requests=image.blobs * (BUCKET_BLOB + BUCKET_PART * (image.blob_size // PART)) + 4,
        peer_bytes=others * image.size,
        line_seconds=line_seconds,
        leader_seconds=leader_seconds,
        client_seconds=clients * image.size / (nodes * machines.network),
        # A blob's URL belongs to one node, which gives it to every client; at best each of them to another.
        client_seconds_by_url=clients * image.size / (min(nodes, image.blobs) * machines.network),
        first_byte=4 * machines.round_trip + others * machines.peer_request / machines.workers,
    )


def idle(nodes: int, machines: Machines = ASSUMED) -> float:
    """Return Redis' commands a second while nobody pulls, a minute after the nodes have started."""
    look = (LOOK + LOOK_NODE * nodes) / (BEAT_SECONDS * beats_to_look(1000, nodes - 1))
    return nodes * (machines.workers * (BEAT / BEAT_SECONDS + look) + PINS / BEAT_SECONDS)


@dataclass(frozen=True, slots=True)
class Bound:
    """What stops growing well, from how many ``nodes`` on, and what happens then."""

    nodes: float
    what: str
    then: str


def bounds(image: Image = ROLLOUT, machines: Machines = ASSUMED) -> list[Bound]:
    """Return the bounds of a rollout, the first one first."""
    share = machines.line / image.blobs
    return sorted(
        [
            Bound(
                1 + machines.network / share,
                "a leader's network",
                "followers get a blob more slowly than the line brings it",
            ),
            Bound(
                1 + machines.workers / (machines.peer_cpu * share),
                "a leader's cores",
                "the same",
            ),
            Bound(
                1 + machines.peer_head * machines.workers / machines.peer_request,
                "heads within 2 s",
                "followers that came last take the leader for silent, and ask again",
            ),
            Bound(
                _busy_redis(image, machines),
                "Redis' one core",
                "nodes wait for it, at most a second, and then fetch for themselves",
            ),
            Bound(1 + machines.workers * machines.readers, "server.readers", "followers get a 503 and ask again"),
        ],
        key=lambda bound: bound.nodes,
    )


def _busy_redis(image: Image, machines: Machines) -> int:
    """Return how many nodes that follow each blob, beside what they do when idle, are as much as one Redis can do."""
    following = image.blobs * (FETCH + FOLLOW_SECOND)
    return next(n for n in itertools.count(1) if n * following + idle(n, machines) > machines.redis_commands)


def lines() -> Iterator[str]:
    """Yield the table, with what it assumes."""
    image, machines = ROLLOUT, ASSUMED
    blobs = f"{image.blobs} blobs of {image.blob_size // MIB} MiB"
    yield f"{CLIENTS:,} clients pull one new image of {blobs} within {image.spread:.0f} s"
    yield (
        f"assumed: {machines.line * 8 / 1e9:g} Gbit/s from the registry, {machines.network * 8 / 1e9:g} Gbit/s a node, "
        f"{machines.workers} workers and cores a node,"
    )
    yield (
        f"  {machines.redis_commands:,.0f} commands/s of Redis, {machines.peer_request * 1000:g} ms of a core for a "
        f"peer's request, {machines.round_trip * 1000:g} ms a round trip, {machines.question:g} s for a HEAD"
    )
    yield ""
    yield f"{'nodes':<46}" + "".join(f"{nodes:>14,}" for nodes in NODES)
    costs = [cost(nodes) for nodes in NODES]
    for what, figure in _ROWS:
        yield f"{what:<46}" + "".join(f"{figure(each):>14}" for each in costs)
    yield ""
    yield "bounds, the first one first"
    for bound in bounds():
        yield f"  from {bound.nodes:>7,.0f} nodes on  {bound.what + ':':<22}{bound.then}"


_ROWS: tuple[tuple[str, Callable[[Cost], str]], ...] = (
    ("registry: bytes, of one image", lambda each: f"{each.registry_bytes / ROLLOUT.size:.2f} x"),
    ("registry: counted GETs", lambda each: f"{each.registry_gets:,}"),
    ("registry: HEADs of the tag, at most", lambda each: f"{each.registry_heads:,}"),
    ("Redis: commands/s while nothing happens", lambda each: f"{each.redis_idle:,.0f}"),
    ("Redis: commands in the first second", lambda each: f"{each.redis_first_second:,.0f}"),
    ("Redis: commands in all", lambda each: f"{each.redis_total:,.0f}"),
    ("bucket: requests", lambda each: f"{each.bucket_requests:,}"),
    ("peers: GiB from node to node", lambda each: f"{each.peer_bytes / GIB:,.1f}"),
    ("follower: first byte, all at once", lambda each: f"{each.first_byte:.3f} s"),
    ("leader: a blob to every other node", lambda each: f"{each.leader_seconds:.1f} s"),
    ("nodes to clients, taking turns", lambda each: f"{each.client_seconds:.1f} s"),
    ("nodes to clients, by hash of the URL", lambda each: f"{each.client_seconds_by_url:.1f} s"),
    ("until the last client has all, taking turns", lambda each: f"{each.seconds:.1f} s"),
)
