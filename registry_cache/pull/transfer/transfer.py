"""The thread that brings one blob here. It belongs to no request, so clients may come and go.

It leads the download where it gets the claim, and else watches the leader in another process; when that one dies,
whichever transfer gets the claim goes on behind its last byte.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from registry_cache.errors import RegistryError, StoreError, UpstreamCorrupt
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.download import LeaderFailed, NearBlob
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer.download import Download
from registry_cache.pull.transfer.leader import GivenUp, Leader, RoomKeeper
from registry_cache.pull.transfer.other_worker import OtherWorker
from registry_cache.pull.transfer.parallel_ranges import PartBudget
from registry_cache.pull.transfer.piece_reuse import PieceReuse
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.stitched import open_stitched
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.runtime import metrics
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import Blobs
from registry_cache.store.partial_downloads import Claim, Partials

_log = Log(__name__)

# Makes what shares one download with the other nodes of a cluster.
Share = Callable[[Digest, BlobSource], NearBlob]


@dataclass(frozen=True, slots=True)
class TransferParts:
    """What all transfers over one store have in common; None where nobody makes room, or shares downloads with us."""

    blobs: Blobs
    partials: Partials
    room: RoomKeeper | None = None
    wrong_bytes: WrongBytes | None = None
    share: Share | None = None


class Transfer:
    """Fills ``progress`` from ``source``, or from what another process' leader writes."""

    def __init__(
        self,
        progress: TransferProgress,
        source: BlobSource,
        parts: TransferParts,
        *,
        ahead: PartBudget | None = None,
        reuse: PieceReuse | None = None,
    ) -> None:
        self._progress = progress
        self._source = source
        self._parts = parts
        self._ahead = ahead
        self._reuse = reuse
        self._other_worker = OtherWorker(progress, parts.blobs, parts.partials)

    def run(self, wanted: Callable[[], bool]) -> None:
        """Return when the transfer has ended, or when another process leads and nothing here is ``wanted`` any more."""
        try:
            while not self._progress.ended:
                claim = self._parts.partials.claim(self._progress.digest)
                if claim:
                    with claim:
                        self._lead(claim)
                elif not self._other_worker.follow(wanted):
                    return
        except RegistryError as error:
            self._progress.fail(error, None)
        except Exception as error:  # noqa: BLE001 — readers must learn of any end, or they wait for nothing
            _log.exception("a transfer ended with a defect", digest=self._progress.digest)
            self._progress.fail(
                StoreError(f"the transfer of {self._progress.digest} broke: {type(error).__name__}"), None
            )

    def _lead(self, claim: Claim) -> None:
        # A second look under the lock: the previous leader may have committed between our miss and our claim.
        if self._other_worker.adopt_commit() or self._other_worker.adopt_failure():
            return
        near = self._parts.share(self._progress.digest, self._registry()) if self._parts.share else None
        source = near.source if near else self._registry()
        leader = Leader(self._progress, source, claim, self._parts.room, self._reuse, near)
        self._progress.led_here = True
        try:
            leader.ask()
            with metrics.count_transfer():
                Download(self._progress.digest, leader.source, leader, ahead=self._ahead).run(claim.partial)
            if self._reuse:
                self._reuse.discard_all()
        except GivenUp as error:
            leader.give_up(error)
            return
        except LeaderFailed as failure:
            leader.fail(failure.error)
            return
        except RegistryError as error:
            if self._parts.wrong_bytes and isinstance(error, UpstreamCorrupt) and not self._source.inside_error():
                self._parts.wrong_bytes.pause(self._source.owner, self._progress.digest)
            leader.fail(error)
            return
        except BaseException:
            if near:
                near.given_up()
            raise
        if self._parts.wrong_bytes:
            self._parts.wrong_bytes.forget(self._source.owner, self._progress.digest)
        try:
            self._parts.blobs.grant(self._source.owner, self._progress.digest)
            self._source.on_commit()
        except StoreError as error:
            # The bytes are safe; the next pull asks upstream whether this repository contains them.
            _log.debug("could not record a membership", digest=self._progress.digest, error=error)
        claim.remove_status()
        self._other_worker.adopt_commit()
        if near:
            near.committed()

    def _registry(self) -> BlobSource:
        """Return what upstream gives, and the pieces of it that are here already."""
        return replace(self._source, open=partial(open_stitched, self._reuse)) if self._reuse else self._source
