"""May a repository have a blob that another one brought here? Upstream says: cached is not authorised (P53).

Of what another upstream brought, it must show some of the bytes (``policy/proof.py``).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import TypeAlias

from registry_cache.errors import BlobUnknown, UpstreamCorrupt, UpstreamDown, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.policy.proof import proof_range
from registry_cache.pull.cluster.questions import ALONE, NearQuestions
from registry_cache.pull.cluster.shared_images import NOTHING_SHARED, SharedImages
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.single_flight import MachineFlights, NoteFormat
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.peer_question import SharedQuestion
from registry_cache.store.blobs import OpenBlob

_SIZE_NOTE: NoteFormat[int | None] = NoteFormat(
    lambda size: {"size": size}, lambda note: None if note["size"] is None else int(note["size"])
)


_SHOWN: NoteFormat[None] = NoteFormat(lambda _: {}, lambda _: None)


class Access:
    """The access of one request. ``proven``: upstream has said that this repository contains the blob; ``shown``: and
    has sent some of its bytes. ``waits_for_bytes``: another upstream is bringing it; it can be compared afterwards.
    ``is_shared``: another node has found out the same.

    ``size`` in bytes is what it said then, None for nothing.
    """

    def __init__(
        self,
        target: PullTarget,
        digest: Digest,
        flights: MachineFlights,
        shared: SharedImages = NOTHING_SHARED,
        near: NearQuestions = ALONE,
        layers: Layers | None = None,
    ) -> None:
        """``shared``: what other nodes have proven; ``near``: what they ask just now. ``layers``: what is named."""
        self.proven = self.shown = self.waits_for_bytes = self.is_shared = False
        self.size: int | None = None
        self._target = target
        self._digest = digest
        self._flights = flights
        self._shared = shared
        self._near = near
        self._layers = layers

    def prove(self) -> None:
        """Ask upstream, once, whether the repository contains the blob.

        Those who ask at once for the same blob of the same repository share the answer, on all nodes. Raises
        BlobUnknown, Denied, TooManyRequests, UpstreamError.
        """
        if not self.proven and self._is_shared():
            self.proven = True
        if not self.proven:
            question = _question(self._target, self._digest)
            self.size = self._flights.run(
                str(question), lambda: self._near.ask(question, self._ask, _SIZE_NOTE).value, _SIZE_NOTE
            )
            self.proven = True

    def prove_bytes(self, blob: OpenBlob) -> None:
        """Compare some bytes of ``blob``, which another upstream brought, to those that ours sends, once.

        Raises UpstreamCorrupt where they differ, and as ``prove`` does.
        """
        if not self.shown and self._is_shared():
            self.proven = self.shown = True
        if not self.shown:
            self._flights.run(f"bytes {self._target}@{self._digest}", lambda: self._compare(blob), _SHOWN)
            self.proven = self.shown = True

    def _is_shared(self) -> bool:
        """Return whether another node has found out what we would have to ask."""
        self.is_shared = self.is_shared or self._shared.contains(self._target, self._digest)
        return self.is_shared

    def _compare(self, blob: OpenBlob) -> None:
        upstream, repository = self._target.upstream, self._target.name.repository
        try:
            is_same, is_guess = self._is_same(blob)
        except UpstreamDown:
            raise
        except UpstreamUnavailable:
            # A connection that broke says nothing of the bytes.
            is_same, is_guess = self._is_same(blob)
        if not is_same and is_guess:
            upstream.record_wrong_blob(repository, self._digest)
            is_same, _ = self._is_same(blob)
        if not is_same:
            raise UpstreamCorrupt(f"{upstream.name} has other bytes than those of the blob {self._digest}")

    def _is_same(self, blob: OpenBlob) -> tuple[bool, bool]:
        """Return whether upstream sends a part of ``blob``, and whether it was read by a guess."""
        start, stop = proof_range(blob.size, secrets.randbelow)
        ask = partial(self._target.upstream.open_blob, expected=lambda: blob.size)
        with closing(ask(self._target.name.repository, self._digest, start, stop)) as body:
            sent = bytearray()
            for chunk in body:
                sent += chunk
                if len(sent) >= stop - start:
                    break
        ours = _read(blob, start, stop)
        is_same = bytes(sent[: stop - start]) == ours and len(ours) == stop - start and body.size in (None, blob.size)
        return is_same, body.is_guess

    def _ask(self) -> int | None:
        return ask_size(self._target, self._digest, self._layers)


# Makes the access of one request.
AccessOf: TypeAlias = Callable[[PullTarget, Digest], Access]


def ask_size(target: PullTarget, digest: Digest, layers: Layers | None = None) -> int | None:
    """Return the size of a blob in bytes by upstream's word, None where that does not say. Raises as ``prove`` does."""
    repository = target.name.repository
    try:
        return target.upstream.head_blob(repository, digest)
    except BlobUnknown:
        # A cache says so of what it would bring to a GET; what no manifest names is not there either (P72).
        if layers is None or layers.size(target, digest) is None:
            raise
    return target.upstream.blob_size(repository, digest)


def answer_size(near: NearQuestions, target: PullTarget, digest: Digest) -> dict[str, object]:
    """Return for another node what upstream says of a blob, as ``NearQuestions.answer`` does."""
    return near.answer(_question(target, digest), lambda: ask_size(target, digest), _SIZE_NOTE)


def _question(target: PullTarget, digest: Digest) -> SharedQuestion:
    return SharedQuestion("blob", *target.name, str(digest))


def _read(blob: OpenBlob, start: int, stop: int) -> bytes:
    """Return these bytes from the disk; fewer where it does not give them, which then prove nothing."""
    try:
        return blob.file.read_at(start, stop - start)
    except OSError:
        return b""
