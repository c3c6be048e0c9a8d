"""The pull of a blob: from the disk, or by following its download, whoever leads it.

Known to the repository and here: HIT. Here, but brought by another repository: ask upstream whether this one contains
it, then HIT. Not here: start a download if nobody has (MISS) and follow it like everyone else (JOIN).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from registry_cache.errors import Busy, RegistryError, StoreError, UpstreamCorrupt, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.pull.source import Response, Source
from registry_cache.pull.transfer import parallel_ranges
from registry_cache.pull.transfer.progress import Cut, Feed, FilePart
from registry_cache.pull.transfer.transfer import UNLIMITED, Room, Transfer
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.pull.uncached.registry import Streams
from registry_cache.runtime import metrics, upstream_wait
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import Blobs, OpenBlob
from registry_cache.store.disk import ReadHandle
from registry_cache.store.partials import Partials
from registry_cache.upstream.client import Upstream

# What the readers of one process hold in chunks at most, together; a chunk is what one send takes.
READ_BUDGET = 16 * 1024 * 1024
_SMALLEST_CHUNK, _LARGEST_CHUNK = 16 * 1024, 256 * 1024

# What goes out in one piece from the descriptor; nobody holds it in memory.
LARGEST_PART = 1024 * 1024

# Seconds that a request waits for transfers of other repositories, which may fail for reasons of their own.
PATIENCE = 5.0

_Chunk = TypeVar("_Chunk", bytes, FilePart)
_Read = Callable[[ReadHandle | None, int, int], tuple[ReadHandle, _Chunk]]

# What upstream said of a blob's size, as other processes are told it.
_SIZE_NOTE: NoteFormat[int | None] = NoteFormat(
    lambda size: {"size": size}, lambda note: None if note["size"] is None else int(note["size"])
)

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class WholeBlob:
    """A blob from the disk: ``size`` bytes in ``file``, an open file that closes with its last reader.

    ``without`` has what follows a byte up to another from elsewhere, where the disk does not give it.
    """

    file: ReadHandle
    size: int
    without: Callable[[int, int], Iterator[bytes]]

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop``. Raises Cut."""
        at = start
        while at < stop:
            try:
                data = self.file.read_at(at, min(_LARGEST_CHUNK, stop - at))
            except OSError:
                data = b""
            if not data:
                yield from self.without(at, stop)
                return
            at += len(data)
            yield data
            if at < stop:
                # A client that reads as fast as the disk gives would hold up all others of a gevent worker.
                time.sleep(0)

    def parts(self, start: int, stop: int) -> Iterator[bytes | FilePart]:
        """Yield where the bytes are; themselves only where the disk does not give them. Raises Cut."""
        part = FilePart(self.file, start, stop - start)
        yield part
        if part.stop < stop:
            yield from self.without(part.stop, stop)

    def close(self) -> None:
        """Nothing is held: the file closes by itself."""


class GrowingBlob:
    """A blob that is being downloaded, made when there are bytes of it. Close it.

    ``size`` in bytes is what the client may be told, None where upstream does not say. Upstream may say another later,
    and then that was wrong.
    """

    def __init__(self, feeds: Feeds, feed: Feed, upstream: Upstream, repository: Repository) -> None:
        self._feeds = feeds
        self._feed = feed
        self._upstream = upstream
        self._repository = repository
        self._open = True
        self.size = feed.size

    def wait_until_whole(self) -> None:
        """Return when the blob is verified and ``size`` known for certain. Raises the transfer's error, Cut."""
        self._feed.wait_for_verdict()
        if self._feed.error:
            raise self._feed.error
        self.size = self._feed.size

    def chunks(self, start: int, stop: int | None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` to ``stop``, None for the end, as they arrive. Raises Cut."""
        return self._follow(start, stop, self._feeds.chunk_size, self._feed.read)

    def parts(self, start: int, stop: int | None) -> Iterator[bytes | FilePart]:
        """Yield, like ``chunks``, where the bytes are; themselves only where they are in no file. Raises Cut."""
        return self._follow(start, stop, lambda: LARGEST_PART, self._feed.part)

    def _follow(
        self, start: int, stop: int | None, most: Callable[[], int], read: _Read[_Chunk]
    ) -> Iterator[bytes | _Chunk]:
        file, at = None, start
        while stop is None or at < stop:
            try:
                file, chunk = read(file, at, self._length(at, stop, most()))
                self._check_size()
            except Cut as cut:
                if not isinstance(cut.error, StoreError):
                    raise
                yield from self._uncached(file, at, stop)
                return
            if not chunk:
                break
            at += len(chunk)
            yield chunk
            if isinstance(chunk, FilePart) and chunk.stop < at:
                yield from self._uncached(file, chunk.stop, stop)
                return
            # A reader that its socket never holds up would hold up all others of a gevent worker.
            time.sleep(0)
        if stop is not None and at < stop:
            raise Cut(UpstreamUnavailable(f"{self._feed.digest} has {at} bytes, upstream had announced {stop}"))

    def _length(self, at: int, stop: int | None, length: int) -> int:
        """Return how many bytes to read from ``at``; where they are the announced end, wait until it is the true one.

        The feed withholds the last byte of what there is. If upstream announced too little, that is behind our end.
        """
        if stop is None:
            return length
        if stop != self.size or self._feed.verified:
            return min(length, stop - at)
        if at + 1 < stop:
            return min(length, stop - 1 - at)
        self._feed.wait_for_verdict()
        return 1

    def _check_size(self) -> None:
        if self.size is not None and self._feed.size != self.size and not self._feed.error:
            raise Cut(
                UpstreamCorrupt(f"upstream announced {self.size} bytes of {self._feed.digest}, then {self._feed.size}")
            )

    def close(self) -> None:
        """Stop reading; the download goes on."""
        if self._open:
            self._open = False
            self._feeds.leave(self._feed)

    def _uncached(self, file: ReadHandle | None, at: int, stop: int | None) -> Iterator[bytes]:
        """Yield what follows ``at``, behind what our client has of ``file``, from where it needs no disk."""
        _log.info("streaming a blob through, uncached", digest=self._feed.digest, at=at)
        digest = self._feed.digest
        try:
            blob = UncachedBlob(
                self._feeds.streams,
                digest,
                _source(self._upstream, self._repository, digest),
                # It was proven before we were made.
                lambda: None,
                after=self._feed.hashed.place(file, at) if file else None,
                announced=self.size,
            )
        except RegistryError as error:
            raise Cut(error) from error
        try:
            yield from blob.chunks(at, stop)
        finally:
            blob.close()


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """What a blob request gets. Close ``body`` unless it is a WholeBlob."""

    outcome: Outcome
    body: WholeBlob | GrowingBlob | UncachedBlob


@dataclass(frozen=True, slots=True)
class BlobHead:
    """What a HEAD of a blob gets; ``size`` in bytes, None where upstream does not say."""

    outcome: Outcome
    size: int | None


class Feeds:
    """The transfers that this process has readers in, or leads. At most ``max_readers`` read at once."""

    def __init__(self, blobs: Blobs, partials: Partials, max_readers: int, room: Room = UNLIMITED) -> None:
        self._blobs = blobs
        self._partials = partials
        self._room = room
        self._max_readers = max_readers
        self._mutex = threading.Lock()
        self._feeds: dict[Digest, Feed] = {}
        self._readers = 0
        self.streams = Streams()
        self._ahead = parallel_ranges.Room()

    def join(self, digest: Digest, source: Source) -> tuple[Feed, bool]:
        """Become a reader of the transfer of ``digest``, starting it from ``source`` if there is none; then True.

        Call ``leave``. Raises Busy.
        """
        with self._mutex:
            self._refuse_more()
            feed = self._feeds.get(digest)
            started = feed is None or feed.ended
            if feed is None or feed.ended:
                feed = Feed(digest)
                transfer = Transfer(feed, source, self._blobs, self._partials, self._room, self._ahead)
                thread = threading.Thread(target=self._run, args=(feed, transfer), name=f"transfer {digest}")
                thread.daemon = True
                thread.start()
                # Not before: a feed that no thread fills would hold up everybody who asks for this blob.
                self._feeds[digest] = feed
            feed.readers += 1
            self._readers += 1
            metrics.readers(1)
            return feed, started

    def leave(self, feed: Feed) -> None:
        """Stop being a reader."""
        with self._mutex:
            feed.readers -= 1
            self._readers -= 1
            metrics.readers(-1)
            _let_go(feed)

    def part(self, feed: Feed) -> None:
        """Go on as a reader of nothing in particular. Call ``exit`` instead of ``leave``."""
        with self._mutex:
            feed.readers -= 1
            _let_go(feed)

    def enter(self) -> None:
        """Become a reader of no transfer in particular. Call ``exit``. Raises Busy."""
        with self._mutex:
            self._refuse_more()
            self._readers += 1
            metrics.readers(1)

    def exit(self) -> None:
        """Stop being a reader."""
        with self._mutex:
            self._readers -= 1
            metrics.readers(-1)

    def chunk_size(self) -> int:
        """Return how many bytes a reader may hold now: the fewer, the more readers there are."""
        return max(_SMALLEST_CHUNK, min(_LARGEST_CHUNK, READ_BUDGET // max(1, self._readers)))

    def _refuse_more(self) -> None:
        if self._readers >= self._max_readers:
            raise Busy(
                f"this worker streams to {self._readers} readers already; try again, or raise server.readers",
                retry_after=1,
            )

    def _run(self, feed: Feed, transfer: Transfer) -> None:
        transfer.run(lambda: self._wanted(feed))
        with self._mutex:
            self._remove(feed)
            _let_go(feed)

    def _wanted(self, feed: Feed) -> bool:
        """Tell whether the feed has readers; one without is taken out, so that the next reader starts another."""
        with self._mutex:
            if not feed.readers:
                self._remove(feed)
            return feed.readers > 0

    def _remove(self, feed: Feed) -> None:
        if self._feeds.get(feed.digest) is feed:
            del self._feeds[feed.digest]


def _let_go(feed: Feed) -> None:
    """Close the file of a feed that is over for everybody.

    Who is sent the rest from upstream still knows the feed: bytes that were discarded would take up room on a full disk
    meanwhile, and more would be evicted in their place.
    """
    if feed.ended and not feed.readers:
        feed.close()


class BlobPull:
    """Pulls of blobs, for every upstream over one store."""

    def __init__(self, blobs: Blobs, feeds: Feeds, layers: Layers, flights: MachineFlights) -> None:
        self._blobs = blobs
        self._feeds = feeds
        self._layers = layers
        self._flights = flights

    def get(self, upstream: Upstream, repository: Repository, digest: Digest) -> BlobAnswer:
        """Return the blob, whole or growing. Raises every kind of RegistryError that upstream's answer may mean."""
        pull = _Pull(upstream, repository, digest, self._layers, self._flights)
        while True:
            whole = self._whole(pull)
            if whole:
                return BlobAnswer(
                    Outcome.HIT, WholeBlob(whole.file, whole.size, partial(self._unreadable, pull, whole))
                )
            # Others lead one after another, and fail; our own upstream has the blob and need not wait for theirs.
            tired = pull.proven and time.monotonic() > pull.patient_until
            if tired or self._feeds.streams.refused(digest):
                return self._without_disk(pull)
            answer = self._follow(pull)
            if answer:
                return answer

    def head(self, upstream: Upstream, repository: Repository, digest: Digest) -> BlobHead:
        """Return the size of a blob; asks upstream for what is not here, and downloads nothing."""
        pull = _Pull(upstream, repository, digest, self._layers, self._flights)
        whole = self._whole(pull)
        if whole:
            return BlobHead(Outcome.HIT, whole.size)
        pull.prove()
        return BlobHead(Outcome.MISS, upstream.blob_size(repository, digest) if pull.size is None else pull.size)

    def _whole(self, pull: _Pull) -> OpenBlob | None:
        name, repository, digest = pull.upstream.name, pull.repository, pull.digest
        try:
            blob = self._blobs.open(name, repository, digest)
            whole = blob or self._blobs.open_any(digest)
        except StoreError as error:
            _log.debug("could not read a blob; fetching it", digest=digest, error=error)
            return None
        if blob or whole is None:
            return blob
        pull.prove()
        try:
            self._blobs.grant(name, repository, digest)
        except StoreError as error:
            _log.debug("could not record a membership", digest=digest, error=error)
        return whole

    def _unreadable(self, pull: _Pull, blob: OpenBlob, at: int, stop: int) -> Iterator[bytes]:
        """Yield what follows byte ``at`` of a blob that the disk does not give any more, and that is fetched again.

        Raises Cut.
        """
        name, repository, digest = pull.upstream.name, pull.repository, pull.digest
        try:
            evicted = self._blobs.evict_unreadable(name, repository, digest, blob.file)
            body = (self.get(pull.upstream, repository, digest) if evicted else self._without_disk(pull)).body
        except RegistryError as error:
            raise Cut(error) from error
        try:
            yield from body.chunks(at, stop)
        finally:
            body.close()

    def _follow(self, pull: _Pull) -> BlobAnswer | None:
        """Follow the blob's transfer; None where its end says nothing about this repository: look again."""
        feed, started = self._feeds.join(pull.digest, pull.source)
        stays = False
        try:
            with upstream_wait.waiting():
                feed.wait_for_leader()
            if feed.owner not in (pull.owner, None):
                # Before the wait for an answer that is another repository's: our own registry may say no at once.
                pull.prove()
            with upstream_wait.waiting():
                feed.wait_for_answer()
                feed.wait_for_bytes()
            if feed.error:
                raise feed.error
            if feed.owner != pull.owner and (feed.committed or not pull.proven):
                return None
            growing = GrowingBlob(self._feeds, feed, pull.upstream, pull.repository)
            stays = True
            return BlobAnswer(Outcome.MISS if started and feed.led_here else Outcome.JOIN, growing)
        except StoreError as error:
            _log.info("streaming a blob through, uncached", digest=pull.digest, error=error)
            self._feeds.part(feed)
            stays = True
            return self._uncached(pull)
        except Cut as cut:
            raise cut.error from cut
        except RegistryError as error:
            if feed.error is error and feed.owner != pull.owner:
                return None
            raise
        finally:
            if not stays:
                self._feeds.leave(feed)

    def _without_disk(self, pull: _Pull) -> BlobAnswer:
        self._feeds.enter()
        return self._uncached(pull)

    def _uncached(self, pull: _Pull) -> BlobAnswer:
        """Return the blob, streamed through to a reader of nothing in particular, whose place ends with it."""
        try:
            blob = UncachedBlob(self._feeds.streams, pull.digest, pull.source, pull.prove, left=self._feeds.exit)
        except BaseException:
            self._feeds.exit()
            raise
        return BlobAnswer(Outcome.JOIN if blob.joined else Outcome.MISS, blob)


def _source(upstream: Upstream, repository: Repository, digest: Digest, layers: Layers | None = None) -> Source:
    def ask(start: int, again: bool, stop: int | None = None) -> Response:
        return upstream.open_blob(repository, digest, start, stop, is_retry=again)

    def expected() -> int | None:
        return layers.size(upstream.name, repository, digest) if layers else None

    return Source(upstream.name, repository, ask, upstream.blob_requests, expected)


class _Pull:
    """One request for one blob. ``proven``: upstream has said that this repository contains it; ``size`` in bytes is
    what it said then, None for nothing.

    ``patient_until``: until when it waits for transfers of other repositories, on the monotonic clock.
    """

    def __init__(
        self, upstream: Upstream, repository: Repository, digest: Digest, layers: Layers, flights: MachineFlights
    ) -> None:
        self.upstream = upstream
        self.repository = repository
        self.digest = digest
        self.owner = (upstream.name, str(repository))
        self.source = _source(upstream, repository, digest, layers)
        self.proven = False
        self.size: int | None = None
        self.patient_until = time.monotonic() + PATIENCE
        self._flights = flights

    def prove(self) -> None:
        """Ask upstream, once, whether the repository contains the blob: cached is not authorised (P53).

        Those who ask at once for the same blob of the same repository share the answer. Raises BlobUnknown, Denied,
        TooManyRequests, UpstreamError.
        """
        if not self.proven:
            self.size = self._flights.run(
                f"blob {self.upstream.name}/{self.repository}@{self.digest}",
                lambda: self.upstream.head_blob(self.repository, self.digest),
                _SIZE_NOTE,
            )
            self.proven = True
