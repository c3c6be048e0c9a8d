"""Count what happens while we serve, for Prometheus.

Each update takes a microsecond or two, so the child of a metric for given labels is looked up once. Under gunicorn the
numbers lie in files that all workers share (``server.metrics_slots``), elsewhere in this process. What can be
read off the disk at a scrape is not counted here: see ``api.metrics``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from registry_cache.runtime import event_queue

# Only this process; a scrape under gunicorn reads the files of all workers.
REGISTRY = CollectorRegistry()

# A hit takes a millisecond, a tag's HEAD a tenth of a second, a layer of gigabytes minutes.
_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
# Above eight seconds a question has been given up (upstream.client.ANSWER_SECONDS).
_ANSWER_SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8)

_requests = Counter("registry_cache_requests", "Requests answered", ["kind", "outcome", "status"], registry=REGISTRY)
_served = Counter(
    "registry_cache_served_bytes", "Bytes of bodies sent to clients, by outcome", ["outcome"], registry=REGISTRY
)
_fetched = Counter(
    "registry_cache_upstream_fetched_bytes", "Bytes of bodies received from upstream", ["upstream"], registry=REGISTRY
)
_duration = Histogram(
    "registry_cache_request_duration_seconds",
    "From the request to the last byte, sent at the client's speed",
    ["kind", "outcome"],
    registry=REGISTRY,
    buckets=_SECONDS,
)
_first_byte = Histogram(
    "registry_cache_first_byte_duration_seconds",
    "From the request until there was a first byte to send",
    ["kind", "outcome"],
    registry=REGISTRY,
    buckets=_SECONDS,
)
_errors = Counter(
    "registry_cache_errors", "Errors that clients got, and bodies cut short, by class", ["error"], registry=REGISTRY
)
_logins_failed = Counter("registry_cache_failed_logins", "Logins with a wrong user name or password", registry=REGISTRY)
_asked = Histogram(
    "registry_cache_upstream_request_duration_seconds",
    "From a request to upstream until its answer's headers, token and redirects included",
    ["upstream"],
    registry=REGISTRY,
    buckets=_ANSWER_SECONDS,
)
_answers = Counter(
    "registry_cache_upstream_requests",
    "Requests to upstream, by what they met: a status class, or error for none",
    ["upstream", "method", "status"],
    registry=REGISTRY,
)
_revalidations = Counter(
    "registry_cache_tag_revalidations",
    "Tags of which there was a copy, and what upstream said of them",
    ["upstream", "result"],
    registry=REGISTRY,
)
_uncached = Counter("registry_cache_uncached_blobs", "Blobs streamed through without being kept", registry=REGISTRY)
_refused = Counter(
    "registry_cache_store_failures", "What the disk refused, by the kernel's name for it", ["errno"], registry=REGISTRY
)
_evicted = Counter("registry_cache_evicted_blobs", "Blobs that the server evicted to make room", registry=REGISTRY)
_evicted_bytes = Counter(
    "registry_cache_evicted_bytes", "Bytes that the server evicted to make room", registry=REGISTRY
)
_transfers = Gauge(
    "registry_cache_transfers_in_progress",
    "Blobs being downloaded",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
_readers = Gauge(
    "registry_cache_readers_in_progress",
    "Clients that follow downloads",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
_leases = Counter(
    "registry_cache_cluster_leases",
    "Downloads as the cluster shares them: taken, followed, taken_over, lost, away",
    ["result"],
    registry=REGISTRY,
)
_peer_bytes = Counter(
    "registry_cache_peer_bytes",
    "Bytes of blobs received from other nodes, and sent to them",
    ["direction"],
    registry=REGISTRY,
)
_peer_duration = Histogram(
    "registry_cache_peer_duration_seconds",
    "From a request to another node until its answer's headers",
    registry=REGISTRY,
    buckets=_ANSWER_SECONDS,
)
_redis_duration = Histogram(
    "registry_cache_redis_duration_seconds",
    "From a question to Redis until its answer",
    registry=REGISTRY,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5),
)
_redis_up = Gauge(
    "registry_cache_redis_up",
    "Whether every worker's last question to Redis was answered",
    registry=REGISTRY,
    multiprocess_mode="livemin",
)
_bucket_requests = Counter(
    "registry_cache_bucket_requests",
    "Requests to the bucket, by what they met: a status class, or error for none",
    ["operation", "status"],
    registry=REGISTRY,
)
_bucket_bytes = Counter(
    "registry_cache_bucket_bytes",
    "Bytes of objects read from the bucket, and written",
    ["direction"],
    registry=REGISTRY,
)
_workers = Gauge("registry_cache_workers", "Processes that serve", registry=REGISTRY, multiprocess_mode="livesum")

_Metric = TypeVar("_Metric", Counter, Histogram)


@cache
def _of(metric: _Metric, *labels: str) -> _Metric:
    """Return the part of ``metric`` that has these labels."""
    return metric.labels(*labels)


def set_serving() -> None:
    """This process serves."""
    _workers.set(1)
    # What an alert waits for must be there as 0 first: from nothing to 1 is not an increase to Prometheus.
    _errors.labels("RegistryError")
    for name in ("ENOSPC", "EIO", "EROFS"):
        _refused.labels(name)


def count_answer(kind: str, outcome: str | None, status: int, size: int, first_byte: float, seconds: float) -> None:
    """A request has its answer: ``size`` bytes of body, of which the first was there after ``first_byte`` seconds."""
    word = outcome or "none"
    _of(_requests, kind, word, f"{status // 100}xx").inc()
    _of(_first_byte, kind, word).observe(first_byte)
    _of(_duration, kind, word).observe(seconds)
    if size:
        _of(_served, word).inc(size)


def count_nginx_hits(kind: str, number: int, size: int) -> None:
    """nginx has answered so many requests from the store's files, with ``size`` bytes of bodies together."""
    _of(_requests, kind, "hit", "2xx").inc(number)
    if size:
        _of(_served, "hit").inc(size)


def hit_durations(kind: str) -> Histogram:
    """Return the histogram of how long hits of one kind took."""
    found: Histogram = _of(_duration, kind, "hit")
    return found


def count_error(error: Exception) -> None:
    """A client got ``error``, or its body was cut short by it."""
    _errors.labels(type(error).__name__).inc()
    event_queue.add_amount("errors", type(error).__name__, 1)


def count_failed_login() -> None:
    """Somebody sent a wrong user name or password."""
    _logins_failed.inc()


def count_upstream_request(upstream: str, method: str, status: int | None, seconds: float) -> None:
    """Upstream was asked and has answered after ``seconds``; ``status`` None where it has not."""
    _of(_asked, upstream).observe(seconds)
    _of(_answers, upstream, method, f"{status // 100}xx" if status else "error").inc()
    if status:
        event_queue.add_amount("answered", upstream, 1)
        event_queue.add_amount("answer_ms", upstream, round(seconds * 1000))


def count_limited_request(upstream: str, account: str) -> None:
    """Upstream has answered a request that its limit counts, for ``account``; "" is none."""
    event_queue.add_amount("counted", f"{upstream} {account or 'anonymous'}", 1)


def count_fetched_bytes(upstream: str, size: int) -> None:
    """``size`` bytes of a body have come from upstream."""
    _of(_fetched, upstream).inc(size)
    event_queue.add_amount("fetched", upstream, size)


def count_bucket_request(operation: str, status: int | None) -> None:
    """The bucket was asked to ``get``, ``head``, ``put``, ``copy`` or ``delete``; ``status`` None without an answer."""
    _of(_bucket_requests, operation, f"{status // 100}xx" if status else "error").inc()


def count_bucket_bytes(direction: str, size: int) -> None:
    """``size`` bytes of an object were ``read`` or ``written``."""
    _of(_bucket_bytes, direction).inc(size)


def count_revalidation(upstream: str, result: str) -> None:
    """A tag was asked for: ``same``, ``moved``, ``gone``, ``denied``, or ``unanswered``."""
    _of(_revalidations, upstream, result).inc()


def count_uncached_blob() -> None:
    """A blob is streamed through without being kept."""
    _uncached.inc()


def count_evictions(blobs: int, size: int) -> None:
    """The server's own pass has evicted ``blobs``, ``size`` bytes together."""
    _evicted.inc(blobs)
    _evicted_bytes.inc(size)
    event_queue.add_evictions(blobs, size)


def count_store_failure(errno_name: str) -> None:
    """The disk has refused something."""
    _refused.labels(errno_name).inc()


def count_lease(result: str) -> None:
    """What became of a download's lease: ``taken``, ``followed``, ``taken_over``, ``lost``, ``away``."""
    _of(_leases, result).inc()


def count_peer_bytes(direction: str, size: int) -> None:
    """``size`` bytes of a blob have been ``received`` from another node, or ``sent`` to one."""
    _of(_peer_bytes, direction).inc(size)


def observe_peer(seconds: float) -> None:
    """Another node has answered after ``seconds``."""
    _peer_duration.observe(seconds)


def observe_redis(seconds: float) -> None:
    """Redis has answered after ``seconds``."""
    _redis_duration.observe(seconds)


def set_redis_up(*, is_up: bool) -> None:
    """The last question to Redis was answered, or was not."""
    _redis_up.set(is_up)


def change_readers(change: int) -> None:
    """So many clients more, or less, follow downloads."""
    _readers.inc(change)


@contextmanager
def count_transfer() -> Iterator[None]:
    """A blob is downloaded inside."""
    _transfers.inc()
    try:
        yield
    finally:
        _transfers.dec()
