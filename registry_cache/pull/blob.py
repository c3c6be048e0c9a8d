"""The pull of a blob: from the disk, or by following its download, whoever leads it.

Known to the repository and here: HIT. Here, but brought by another repository: ask upstream whether this one contains
it, then HIT. Not here: start a download if nobody has (MISS) and follow it like everyone else (JOIN).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from registry_cache.errors import NotHeld, RegistryError, StoreError
from registry_cache.oci.byte_range import has_end
from registry_cache.oci.digest import Digest
from registry_cache.policy.proof import Proof, needed_proof
from registry_cache.pull.access import Access, AccessOf
from registry_cache.pull.blob_body import Cut, FilePart, PulledBlob
from registry_cache.pull.cluster.shared_images import NOTHING_SHARED, SharedImages
from registry_cache.pull.growing_blob import GrowingBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.images.prefetch import Prefetch
from registry_cache.pull.lazy.pull import LazyPull
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.reader_slots import LARGEST_CHUNK, ReaderSlots
from registry_cache.pull.source import SourceOf, WantedBlob, source_of
from registry_cache.pull.target import PullTarget
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.pull.uncached.body import UncachedBlob
from registry_cache.pull.uncached.shared_streams import SharedStreams
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import Blobs, OpenBlob
from registry_cache.store.disk import ReadHandle

# How long a request waits for transfers of other repositories, which may fail for reasons of their own.
OTHERS_TIMEOUT_SECONDS = 5.0

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class BlobAnswer:
    """What a blob request gets. Close ``body``."""

    outcome: Outcome
    body: PulledBlob


@dataclass(frozen=True, slots=True)
class BlobHead:
    """What a HEAD of a blob gets; ``size`` in bytes, None where upstream does not say."""

    outcome: Outcome
    size: int | None


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who wants a blob. ``client``: its address, "" for nobody. ``is_peer``: another node asks.

    ``reads_ranges``: it may go on to ask for ranges ahead of the download.
    """

    client: str = ""
    is_peer: bool = False
    reads_ranges: bool = False


class BlobPull:
    """Pulls of blobs, for every upstream over one store."""

    def __init__(
        self,
        blobs: Blobs,
        transfers: Transfers,
        slots: ReaderSlots,
        layers: Layers,
        access_of: AccessOf,
        lazy: LazyPull | None = None,
        source_of: SourceOf = source_of,
        shared: SharedImages = NOTHING_SHARED,
    ) -> None:
        """``lazy``: fetches ranges of blobs that are not here; without it, they come by downloads of the whole.

        ``source_of`` tells where blobs come from; ``shared`` what other nodes know of them.
        """
        self._blobs = blobs
        self._transfers = transfers
        self._slots = slots
        self._streams = SharedStreams()
        self._layers = layers
        self._access_of = access_of
        self._lazy = lazy
        self._source_of = source_of
        self._shared = shared
        self._prefetch = Prefetch(layers, self._bring)

    def get(self, target: PullTarget, digest: Digest, client: str = "", range_header: str | None = None) -> BlobAnswer:
        """Return the blob, whole or on its way; ``client`` is the address of who asks, "" for nobody.

        ``range_header``: the Range to obey. The body may then have nothing else. Raises every kind of RegistryError
        that upstream's answer may mean.
        """
        whole = self.get_stored(target, digest)
        if whole:
            return whole
        if range_header and self._lazy:
            found = self._lazy.get(target, digest, range_header, lambda: self.get(target, digest, client).body)
            if found:
                return BlobAnswer(*found)
        reads_ranges = range_header is not None and self._may_overtake(target, range_header)
        answer = self._get_absent(target, digest, _Asker(client, reads_ranges=reads_ranges))
        if answer.outcome in (Outcome.MISS, Outcome.NEAR) and target.upstream.layers_ahead:
            self._prefetch.begin(target, digest)
        return answer

    def get_stored(self, target: PullTarget, digest: Digest) -> BlobAnswer | None:
        """Return the blob if it is here and known to the repository."""
        whole = self._find(target, digest)
        return BlobAnswer(Outcome.HIT, WholeBlob(self, target, digest, whole.file, whole.size)) if whole else None

    def bucket_url(self, target: PullTarget, digest: Digest) -> str | None:
        """Return a URL of the bucket for a blob that is not here; None where the bucket has none."""
        return self._shared.blob_url(target, digest)

    def get_held(
        self, target: PullTarget, digest: Digest, range_header: str | None = None, *, fetches: bool = False
    ) -> BlobAnswer:
        """Return the blob for another node: whole, or while it arrives here, or a range that it wants fetched here.

        ``fetches``: it wants the whole fetched, too. Raises NotHeld, and as ``get`` does.
        """
        try:
            # In this order: one that is neither under way nor here has not just changed from the one to the other.
            is_held = self._transfers.is_under_way(digest)
            is_whole = self._blobs.open_any(digest) is not None
            is_held = is_held or is_whole
        except StoreError:
            is_whole = is_held = False
        if range_header and self._lazy and not is_whole:
            found = self._lazy.get(
                target, digest, range_header, lambda: self.get_held(target, digest, fetches=fetches).body, for_peer=True
            )
            if found:
                return BlobAnswer(*found)
        if not is_held and not fetches:
            raise NotHeld(f"{digest} is neither here nor on its way here")
        return self._get_absent(target, digest, _Asker(is_peer=True))

    def head(self, target: PullTarget, digest: Digest) -> BlobHead:
        """Return the size of a blob; asks upstream for what is not here, and downloads nothing."""
        access = self._access_of(target, digest)
        whole = self._find(target, digest, access)
        if whole:
            return BlobHead(Outcome.HIT, whole.size)
        size_of_pieces = self._lazy.size(target, digest) if self._lazy else None
        if size_of_pieces is not None:
            return BlobHead(Outcome.HIT, size_of_pieces)
        shared = self._shared.blob_size(target, digest)
        if shared is not None:
            return BlobHead(Outcome.NEAR, shared)
        access.prove()
        return BlobHead(Outcome.MISS, self._size(target, digest, access.size))

    def _size(self, target: PullTarget, digest: Digest, said: int | None) -> int | None:
        """Return the size in bytes of a blob, for which a HEAD has ``said`` so many; None where nobody knows.

        A client compares the length that it is told to its manifest, and refuses the blob for another one.
        """
        expected = self._layers.size(target, digest)
        if said is None or expected not in (None, said):
            said = target.upstream.blob_size(target.name.repository, digest)
        return said if expected in (None, said) else None

    def refetch(self, target: PullTarget, digest: Digest, file: ReadHandle) -> PulledBlob:
        """Fetch a blob again whose ``file`` can no longer be read. Raises as ``get`` does."""
        if self._blobs.evict_unreadable(target.name, digest, file):
            return self.get(target, digest).body
        self._slots.take()
        return self._uncached(target, digest, self._access_of(target, digest)).body

    def _find(self, target: PullTarget, digest: Digest, access: Access | None = None) -> OpenBlob | None:
        """Return the blob if it is here and known to the repository; with ``access`` also one that others brought."""
        try:
            blob = self._blobs.open(target.name, digest)
            of_others = self._blobs.open_any(digest) if access and blob is None else None
        except StoreError as error:
            _log.debug("could not read a blob; fetching it", digest=digest, error=error)
            return None
        if access and of_others:
            if needed_proof(self._blobs.brought_by(digest), target.upstream.name) is Proof.WORD:
                access.prove()
            else:
                access.prove_bytes(of_others)
            try:
                self._blobs.grant(target.name, digest)
                if not access.is_shared:
                    self._shared.add_membership(target, digest)
            except StoreError as error:
                _log.debug("could not record a membership", digest=digest, error=error)
        return blob or of_others

    def _get_absent(self, target: PullTarget, digest: Digest, asker: _Asker) -> BlobAnswer:
        """Return a blob that was not here, or not known to the repository, a moment ago."""
        access = self._access_of(target, digest)
        until = time.monotonic() + OTHERS_TIMEOUT_SECONDS
        wrong_bytes = self._transfers.parts.wrong_bytes
        while True:
            whole = self._find(target, digest, access)
            if whole:
                return BlobAnswer(Outcome.HIT, WholeBlob(self, target, digest, whole.file, whole.size))
            if wrong_bytes:
                wrong_bytes.check(target.name, digest)
            self._slots.take()
            # Others lead one after another, and fail; our own upstream has the blob and need not wait for theirs.
            waited = (access.proven or access.waits_for_bytes) and time.monotonic() > until
            if waited or self._streams.was_refused(digest):
                return self._uncached(target, digest, access)
            try:
                answer = self._follow(target, digest, access, asker)
            except StoreError as error:
                _log.info("streaming a blob through, uncached", digest=digest, error=error)
                return self._uncached(target, digest, access)
            except BaseException:
                self._slots.give_back()
                raise
            if answer:
                return answer
            self._slots.give_back()

    def _follow(self, target: PullTarget, digest: Digest, access: Access, asker: _Asker) -> BlobAnswer | None:
        """Follow the blob's transfer, for a caller that has a slot.

        None where the transfer's end says nothing about this repository.
        """
        source = self._source_of(WantedBlob(target, digest, self._layers, is_stored=True))
        source = replace(source, is_for_peer=asker.is_peer, can_be_overtaken=asker.reads_ranges)
        progress, started = self._transfers.join(digest, source, asker.client)
        growing = None
        try:
            with request_context.waiting():
                progress.wait_for_leader()
            if progress.owner and progress.owner.upstream != target.upstream.name:
                # Another upstream's bytes are given to nobody of ours before ours has shown that it has them.
                access.waits_for_bytes = True
                with request_context.waiting():
                    progress.wait_for_end(OTHERS_TIMEOUT_SECONDS)
                return None
            if progress.owner not in (target.name, None):
                # Before we wait for another repository's answer: our own registry may say no at once.
                access.prove()
            with request_context.waiting():
                progress.wait_for_answer()
                progress.wait_for_bytes()
            if progress.error:
                raise progress.error
            if progress.owner != target.name and (progress.committed or not access.proven):
                return None
            growing = GrowingBlob(self._transfers, self._slots, self._streams, progress, target, self._source_of)
            return BlobAnswer(_outcome(progress, started), growing)
        except Cut as cut:
            raise cut.error from cut
        except StoreError:
            raise
        except RegistryError as error:
            if progress.error is error and progress.owner != target.name:
                return None
            raise
        finally:
            if growing is None:
                self._transfers.leave(progress)

    def _uncached(self, target: PullTarget, digest: Digest, access: Access) -> BlobAnswer:
        """Return the blob past the disk, for a caller that has a slot, which the blob gives back."""
        try:
            source = self._source_of(WantedBlob(target, digest, self._layers))
            blob = UncachedBlob(
                self._streams,
                digest,
                source,
                access.prove,
                closed=self._slots.give_back,
                wrong_bytes=self._transfers.parts.wrong_bytes,
            )
        except BaseException:
            self._slots.give_back()
            raise
        if blob.joined:
            return BlobAnswer(Outcome.JOIN, blob)
        return BlobAnswer(Outcome.NEAR if source.was_near() else Outcome.MISS, blob)

    def _may_overtake(self, target: PullTarget, range_header: str) -> bool:
        """Tell whether more ranges may follow, which are fetched ahead of a download that begins with this one."""
        return self._lazy is not None and self._lazy.is_for(target) and has_end(range_header)

    def _bring(self, target: PullTarget, digest: Digest) -> None:
        """Return when the blob is here, for no client. Raises as ``get`` does, Cut."""
        whole = self._find(target, digest)
        if not whole:
            body = self._get_absent(target, digest, _Asker()).body
            try:
                body.wait_until_stored()
            finally:
                body.close()


def _outcome(progress: TransferProgress, started: bool) -> Outcome:
    if not started or not progress.led_here:
        return Outcome.JOIN
    return Outcome.NEAR if progress.is_near else Outcome.MISS


@dataclass(frozen=True, slots=True)
class WholeBlob:
    """A blob from the disk: ``size`` bytes in ``file``, an open file that closes with its last reader."""

    pull: BlobPull
    target: PullTarget
    digest: Digest
    file: ReadHandle
    size: int
    stored = True

    def parts(self, start: int, stop: int | None, *, from_file: bool) -> Iterator[bytes | FilePart]:
        stop = self.size if stop is None else stop
        if not from_file:
            yield from self._chunks(start, stop)
            return
        part = FilePart(self.file, start, stop - start)
        yield part
        if part.stop < stop:
            yield from self._refetched(part.stop, stop)

    def wait_for_size(self) -> None:
        """Return: it is known."""

    def wait_until_stored(self) -> None:
        """Return: it is."""

    def close(self) -> None:
        """Do nothing: the file closes with its last reader."""

    def _chunks(self, start: int, stop: int) -> Iterator[bytes | FilePart]:
        at = start
        while at < stop:
            try:
                data = self.file.read_at(at, min(LARGEST_CHUNK, stop - at))
            except OSError:
                data = b""
            if not data:
                yield from self._refetched(at, stop)
                return
            at += len(data)
            yield data
            if at < stop:
                # A client that reads as fast as the disk gives would hold up all others of a gevent worker.
                time.sleep(0)

    def _refetched(self, start: int, stop: int) -> Iterator[bytes | FilePart]:
        """Yield bytes that can no longer be read from the disk."""
        try:
            body = self.pull.refetch(self.target, self.digest, self.file)
        except RegistryError as error:
            raise Cut(error) from error
        try:
            yield from body.parts(start, stop, from_file=False)
        finally:
            body.close()
