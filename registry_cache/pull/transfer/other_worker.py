"""A download that another process of this machine leads, as this one sees it: by its partial, status and commit."""

from __future__ import annotations

import time
from collections.abc import Callable

from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.store.blobs import Blobs
from registry_cache.store.partial_downloads import Partials

# How often to look at what the leader wrote: often after something came, then less.
_FIRST_POLL, _LAST_POLL = 0.005, 0.05


class OtherWorker:
    """Shows the readers of ``progress`` what another process' leader writes."""

    def __init__(self, progress: TransferProgress, blobs: Blobs, partials: Partials) -> None:
        self._progress = progress
        self._blobs = blobs
        self._partials = partials
        self._began = time.time()

    def follow(self, wanted: Callable[[], bool]) -> bool:
        """Follow the leader until nothing new comes, as when it has died; False when not ``wanted``."""
        pause = _FIRST_POLL
        while wanted():
            if self.adopt_commit():
                return True
            has_new = self._adopt_partial()
            if self._progress.ended:
                return True
            time.sleep(pause)
            if not has_new and pause >= _LAST_POLL:
                return True
            pause = _FIRST_POLL if has_new else min(pause * 2, _LAST_POLL)
        return False

    def adopt_commit(self) -> bool:
        """End with the blob, where it is here by now; return whether it is."""
        blob = self._blobs.open_any(self._progress.digest)
        if blob is None:
            return False
        self._progress.commit(self._progress.reuse_handle(blob.file), blob.size)
        return True

    def adopt_failure(self) -> bool:
        """Take over the error of a leader that failed while we watched it (byte-safety rule 6)."""
        status = self._partials.status(self._progress.digest)
        if status is None or status.error is None or status.at < self._began:
            return False
        self._progress.fail(status.error, status.owner)
        return True

    def _adopt_partial(self) -> bool:
        """Show what the leader wrote; return whether there was anything new."""
        progress = self._progress
        status = self._partials.status(progress.digest)
        if status is None or status.error:
            return False
        if not status.answered:
            progress.set_owner(status.owner)
            return False
        if progress.file is not None and not progress.file.has_name():
            # A second look: a leader that gives up says so before it removes its bytes. Without that, they were wrong.
            if self.adopt_failure():
                return False
            progress.cut_readers()
        file = progress.file or self._partials.open(progress.digest)
        if file is None:
            return False
        if progress.file is None or progress.size != status.size:
            progress.answer(status.owner, status.size, file)
        size = file.size()
        # Not a statement from before a power cut: the bytes may be different now.
        if status.verified and status.at >= self._began and status.size == size:
            return progress.show_verified(size)
        return progress.advance(size)
