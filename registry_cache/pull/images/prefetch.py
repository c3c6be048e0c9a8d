"""The other layers of an image, on their way as soon as a client has asked for one of them.

Off unless the operator says otherwise: a client that has some of an image's layers asks for the others alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.images.worker_pool import side_by_side
from registry_cache.pull.target import PullTarget
from registry_cache.runtime import request_context
from registry_cache.runtime.log import Log

# Layers of one image at once, beside those that clients ask for.
_THREADS = 4

_log = Log(__name__)


class Prefetch:
    """``bring`` pulls one blob, and returns when it is here."""

    def __init__(self, layers: Layers, bring: Callable[[PullTarget, Digest], None]) -> None:
        self._layers = layers
        self._bring = bring
        self._mutex = threading.Lock()
        # Of images whose layers are being brought, the first blob that each names.
        self._images: set[tuple[FullName, Digest]] = set()

    def begin(self, target: PullTarget, digest: Digest) -> None:
        """Bring the layers of an image that names ``digest``, which a client has asked for."""
        config, *layers = [child.digest for child in self._layers.image(target, digest)] or [digest]
        # A configuration alone is asked for by those who only look at an image.
        if digest not in layers:
            return
        image = (target.name, config)
        with self._mutex:
            if image in self._images:
                return
            self._images.add(image)
        others = [layer for layer in layers if layer != digest]
        name = f"layers of {target.name.repository}"
        request_context.start_thread(name, self._bring_all, image, target, others)

    def _bring_all(self, image: tuple[FullName, Digest], target: PullTarget, layers: list[Digest]) -> None:
        try:
            for _ in side_by_side(lambda layer: self._try_to_bring(target, layer), layers, _THREADS, lambda: None):
                pass
        finally:
            with self._mutex:
                self._images.discard(image)

    def _try_to_bring(self, target: PullTarget, layer: Digest) -> None:
        try:
            self._bring(target, layer)
        except (Cut, RegistryError) as error:
            # Whoever asks for it gets an answer of their own.
            _log.debug("could not bring a layer ahead", digest=layer, repository=target.name.repository, error=error)
