"""What ``registry-cache status`` reports, read from the disk alone: lines for a person and a JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from registry_cache.store import inventory
from registry_cache.store.inventory import DiskSpace, StoreCounts, Unfinished
from registry_cache.store.last_use import StoredBlob
from registry_cache.store.layout import Layout
from registry_cache.upkeep.bucket_text import BucketStatus, read_bucket
from registry_cache.upkeep.report import BAR, Report, age, bar, clock, counted, iso, short, size
from registry_cache.upkeep.status import KnownUpstream, PullCount, UpstreamStatus, upstream_status


@dataclass(frozen=True, slots=True)
class StatusReport(Report):
    """Everything, at ``now``, in the reader's time zone. ``exists``: a store has been made under ``root``."""

    now: datetime
    upstreams: Sequence[UpstreamStatus]
    cached: StoreCounts
    transfers: Sequence[Unfinished]
    root: str
    exists: bool
    space: DiskSpace
    in_pieces: Sequence[StoredBlob] = ()
    bucket: BucketStatus | None = None

    @property
    def used(self) -> int:
        """Bytes of the disk that manifests, blobs and unfinished blobs occupy; records are some more."""
        return self.cached.allocated + sum(each.bytes for each in self.transfers) + self._piece_bytes

    @property
    def _piece_bytes(self) -> int:
        return sum(each.size for each in self.in_pieces)

    def lines(self) -> Iterator[str]:
        yield "upstreams"
        width = max((len(each.name) for each in self.upstreams), default=0)
        for each in self.upstreams:
            yield f"  {each.name:{width}}  {self._upstream(each)}"
        cached = self.cached
        yield "cached"
        repositories, tags = counted(cached.repositories, "repository", "repositories"), counted(cached.tags, "tag")
        yield f"  {repositories}, {tags}, {counted(cached.manifests, 'manifest')}, {counted(cached.blobs, 'blob')}"
        yield f"  {size(cached.bytes)}"
        if self.in_pieces:
            yield f"  ranges of {counted(len(self.in_pieces), 'more blob')}: {size(self._piece_bytes)}"
        yield "transfers"
        yield from (f"  {_transfer_line(each)}" for each in self.transfers)
        if not self.transfers:
            yield "  none"
        if self.bucket:
            yield "bucket"
            yield f"  {self.bucket.line(self.now)}"
        yield "disk"
        store = f"uses {size(self.used)}" if self.exists else "holds no store yet: serve makes it"
        yield f"  {self.root} {store}"
        yield f"  {size(self.space.free)} of {size(self.space.total)} are free on its file system"

    def document(self) -> dict[str, object]:
        cached = asdict(self.cached)
        del cached["allocated"]
        return {
            "at": iso(self.now.timestamp()),
            "upstreams": [_upstream_document(each) for each in self.upstreams],
            "cached": cached,
            "in_pieces": {"blobs": len(self.in_pieces), "bytes": self._piece_bytes},
            "transfers": [_transfer_document(each) for each in self.transfers],
            "bucket": self.bucket and self.bucket.document(),
            "store": {
                "root": self.root,
                "exists": self.exists,
                "used": self.used,
                "free": self.space.free,
                "total": self.space.total,
            },
        }

    def _upstream(self, each: UpstreamStatus) -> str:
        pulls = _pulls(each.pulls, self.now) if each.pulls else ""
        if each.state == "down" and each.since is not None:
            since = clock(each.since, self.now)
            down = f"down since {since} ({age(each.since, self.now)}): {each.cause}"
            return f"{down}; {pulls}" if pulls else down
        if each.state == "limited" and each.until is not None:
            scope = ", for everything" if each.everything else ""
            until = clock(each.until, self.now)
            return f"limited until {until}{scope}" + (f" ({pulls})" if pulls else "")
        return f"ok; {pulls}" if pulls else "ok"


def read_status(root: Path, upstreams: Iterable[KnownUpstream], now: datetime, bucket: str | None) -> StatusReport:
    """Return the state of the cache at ``now``; creates nothing on the disk. Raises StoreError.

    ``bucket``: the name of the one that it shares with others, if any.
    """
    layout = Layout(root)
    exists = Layout.find(root) is not None
    found = [upstream_status(each, now.timestamp()) for each in upstreams]
    cached, transfers = inventory.count(layout), inventory.unfinished(layout)
    space, in_pieces = inventory.disk_space(layout.root), inventory.blobs_in_pieces(layout)
    shared = read_bucket(layout, bucket) if bucket else None
    return StatusReport(now, found, cached, transfers, str(root), exists, space, in_pieces, shared)


def _percent(transfer: Unfinished) -> int | None:
    """Return how much of a blob is here, 100 only for all of it; None where its size is unknown."""
    return min(100, transfer.bytes * 100 // transfer.size) if transfer.size else None


def _pulls(pulls: PullCount, now: datetime) -> str:
    source = f", counted for {pulls.source}" if pulls.source else ""
    seen = f"{age(pulls.seen_at, now)} ago"
    if not pulls.current:
        return f"{pulls.left} of {pulls.limit} pulls were left {seen}{source}; that count is over"
    window = f" in {pulls.window / 3600:g} h" if pulls.window else ""
    return f"{pulls.left} of {pulls.limit} pulls left{window}{source}, seen {seen}"


def _transfer_line(each: Unfinished) -> str:
    where = f" of {each.repository} from {each.upstream}" if each.repository else ""
    name = short(each.digest) + where
    total = f" of {size(each.size)}" if each.size is not None else ""
    if not each.running:
        cause = f" ({each.error})" if each.error else ""
        return f"interrupted at {size(each.bytes)}{total}, resumed by the next pull: {name}{cause}"
    done = _percent(each)
    readers = f", {counted(each.readers, 'reader')}" if each.readers else ""
    if done is None:
        return f"[{'?' * BAR}]        {size(each.bytes)} of unknown size  {name}{readers}"
    return f"{bar(done)}  {size(each.bytes)}{total}  {name}{readers}"


def _upstream_document(each: UpstreamStatus) -> dict[str, object]:
    return {
        "name": each.name,
        "url": each.url,
        "state": each.state,
        "limited_until": None if each.until is None else iso(each.until),
        "limited": None if each.until is None else "everything" if each.everything else "pulls",
        "down_since": None if each.since is None else iso(each.since),
        "cause": each.cause or None,
        "pulls": each.pulls and _pulls_document(each.pulls),
    }


def _pulls_document(pulls: PullCount) -> dict[str, object]:
    return {
        "left": pulls.left,
        "limit": pulls.limit,
        "window_seconds": pulls.window,
        "source": pulls.source,
        "seen_at": iso(pulls.seen_at),
        "current": pulls.current,
    }


def _transfer_document(each: Unfinished) -> dict[str, object]:
    return {
        "digest": str(each.digest),
        "upstream": each.upstream or None,
        "repository": each.repository or None,
        "state": "running" if each.running else "interrupted",
        "bytes": each.bytes,
        "size": each.size,
        "percent": _percent(each),
        "readers": each.readers,
        "since": None if each.since is None else iso(each.since),
        "error": each.error or None,
    }
