"""The other layers of an image, on their way as soon as a client has asked for one of them.

Off unless the operator says otherwise: a client that has some of an image's layers asks for the others alone.
"""

from __future__ import annotations

import threading

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.pull.blob import BlobAnswer, BlobPull, Feeds, GrowingBlob, WholeBlob
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.images.worker_pool import side_by_side
from registry_cache.pull.outcome import Outcome
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.transfer.progress import Cut
from registry_cache.runtime.log import Log
from registry_cache.store.blobs import Blobs
from registry_cache.upstream.client import Upstream

# Layers of one image at once, beside those that clients ask for.
_THREADS = 4

_log = Log(__name__)


class BlobPullAhead(BlobPull):
    """Pulls of blobs; from upstreams with ``layers_ahead``, of their images' other layers as well."""

    def __init__(self, blobs: Blobs, feeds: Feeds, layers: Layers, flights: MachineFlights) -> None:
        super().__init__(blobs, feeds, layers, flights)
        self._mutex = threading.Lock()
        # Of images whose layers are being brought, the first blob that each names.
        self._images: set[tuple[str, str, Digest]] = set()

    def get(self, upstream: Upstream, repository: Repository, digest: Digest) -> BlobAnswer:
        """As BlobPull's."""
        answer = super().get(upstream, repository, digest)
        if answer.outcome is Outcome.MISS and upstream.layers_ahead:
            self._begin(upstream, repository, digest)
        return answer

    def _begin(self, upstream: Upstream, repository: Repository, digest: Digest) -> None:
        config, *layers = [child.digest for child in self._layers.image(upstream.name, repository, digest)] or [digest]
        # A configuration alone is asked for by those who only look at an image.
        if digest not in layers:
            return
        image = (upstream.name, str(repository), config)
        with self._mutex:
            if image in self._images:
                return
            self._images.add(image)
        others = [layer for layer in layers if layer != digest]
        name = f"layers of {repository}"
        threading.Thread(target=self._bring, args=(image, upstream, repository, others), name=name, daemon=True).start()

    def _bring(
        self, image: tuple[str, str, Digest], upstream: Upstream, repository: Repository, layers: list[Digest]
    ) -> None:
        try:
            for _ in side_by_side(lambda layer: self._one(upstream, repository, layer), layers, _THREADS, lambda: None):
                pass
        finally:
            with self._mutex:
                self._images.discard(image)

    def _one(self, upstream: Upstream, repository: Repository, layer: Digest) -> None:
        try:
            body = super().get(upstream, repository, layer).body
            if isinstance(body, WholeBlob):
                return
            try:
                # What the disk does not take is of no use to anybody later.
                if isinstance(body, GrowingBlob):
                    body.wait_until_whole()
            finally:
                body.close()
        except (Cut, RegistryError) as error:
            # Whoever asks for it gets an answer of their own.
            _log.debug("could not bring a layer ahead", digest=layer, repository=repository, error=error)
