"""Build what serves blobs: whole, growing, or in ranges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.cluster.download import NearBlob
from registry_cache.pull.cluster.nodes import Cluster
from registry_cache.pull.cluster.questions import NearQuestions
from registry_cache.pull.cluster.ranges import NearRanges
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.lazy.piece_flights import PieceFlights
from registry_cache.pull.lazy.pull import MAX_FILL_PAUSE_SECONDS, LazyPull
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.pull.wrong_bytes import WrongBytes
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import Layout
from registry_cache.store.partial_downloads import Partials
from registry_cache.store.piece_files import Pieces
from registry_cache.store.reader_notes import ReaderNote
from registry_cache.store.records import Records
from registry_cache.upkeep.size_keeper import SizeKeeper
from registry_cache.wiring.bucket import SharedParts


@dataclass(frozen=True, slots=True)
class StoreParts:
    """What blobs and manifests are kept in, and how workers agree on who asks for them."""

    layout: Layout
    blobs: Blobs
    records: Records
    flights: MachineFlights
    wrong_bytes: WrongBytes


def blob_pull(
    parts: StoreParts,
    readers: int,
    keeper: SizeKeeper,
    cluster: Cluster | None,
    shared: SharedParts,
    questions: NearQuestions,
) -> BlobPull:
    """Return what pulls blobs for at most so many ``readers`` at once; ``questions``: what other nodes ask just now."""
    partials, pieces = Partials(parts.layout), Pieces(parts.layout)
    piece_flights = PieceFlights(keeper.count_pieces, keeper.full)
    slots, layers = ReaderSlots(readers), Layers(parts.records)
    access_of = partial(Access, flights=parts.flights, shared=shared.images, near=questions, layers=layers)
    share = partial(NearBlob, cluster) if cluster else None
    transfers = Transfers(
        TransferParts(parts.blobs, partials, keeper, parts.wrong_bytes, share),
        pieces,
        lambda: piece_flights.wait_until_idle(MAX_FILL_PAUSE_SECONDS),
        ReaderNote(parts.layout),
    )
    lazy = LazyPull(
        parts.blobs,
        pieces,
        piece_flights,
        transfers,
        slots,
        layers,
        access_of,
        shared.source_of,
        NearRanges(cluster) if cluster else None,
    )
    return BlobPull(parts.blobs, transfers, slots, layers, access_of, lazy, shared.source_of, shared.images)
