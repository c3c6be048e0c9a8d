"""The content of the fake upstream: blobs, manifests and tags by repository. Thread-safe; knows nothing of HTTP."""

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
APP = "library/app"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Manifest:
    data: bytes
    media_type: str

    @property
    def document(self) -> dict[str, Any]:
        """The parsed JSON; {} if the bytes are not a JSON object."""
        try:
            document = json.loads(self.data)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


class Content:
    """Each repository has its own content: a blob of one is unknown to the others until it is added there too."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blobs: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        self._manifests: defaultdict[str, dict[str, Manifest]] = defaultdict(dict)
        self._tags: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def add_blob(self, data: bytes, repository: str = APP, algorithm: str = "sha256") -> str:
        """The digest under which `data` can now be pulled."""
        digest = digest_of(data, algorithm)
        with self._lock:
            self._blobs[repository][digest] = data
        return digest

    def add_manifest(
        self,
        document: bytes | Mapping[str, Any],
        media_type: str = OCI_MANIFEST,
        repository: str = APP,
        tag: str | None = None,
        algorithm: str = "sha256",
        digest: str | None = None,
    ) -> str:
        """The digest of a manifest, given as its exact bytes or as a document to be written out.

        `digest`: of a part of the bytes, as a signed manifest of schema 1 has it.
        """
        data = document if isinstance(document, bytes) else json.dumps(document, indent=2).encode()
        digest = digest or digest_of(data, algorithm)
        with self._lock:
            self._manifests[repository][digest] = Manifest(data, media_type)
            if tag is not None:
                self._tags[repository][tag] = digest
        return digest

    def tag(self, repository: str, tag: str, digest: str) -> None:
        """Make or move a tag."""
        with self._lock:
            self._tags[repository][tag] = digest

    def untag(self, repository: str, tag: str) -> None:
        with self._lock:
            del self._tags[repository][tag]

    def remove_blob(self, digest: str, repository: str = APP) -> None:
        with self._lock:
            del self._blobs[repository][digest]

    def blob(self, repository: str, digest: str) -> bytes | None:
        with self._lock:
            return self._blobs[repository].get(digest)

    def manifest(self, repository: str, reference: str) -> tuple[str, Manifest] | None:
        """By tag or digest: the digest and the manifest."""
        with self._lock:
            digest = self._tags[repository].get(reference, reference)
            manifest = self._manifests[repository].get(digest)
            return None if manifest is None else (digest, manifest)

    def tags(self, repository: str) -> list[str] | None:
        """In lexical order; None if the repository does not exist."""
        with self._lock:
            known = self._manifests[repository] or self._blobs[repository]
            return sorted(self._tags[repository]) if known else None

    def referrers(self, repository: str, subject: str) -> list[dict[str, Any]]:
        """The descriptors of the manifests whose `subject` is this digest."""
        with self._lock:
            return [
                descriptor(digest, manifest)
                for digest, manifest in self._manifests[repository].items()
                if manifest.document.get("subject", {}).get("digest") == subject
            ]


def descriptor(digest: str, manifest: Manifest) -> dict[str, Any]:
    """As it stands in a referrers index: spec.md, "Listing Referrers"."""
    document = manifest.document
    found: dict[str, Any] = {"mediaType": manifest.media_type, "digest": digest, "size": len(manifest.data)}
    if kind := document.get("artifactType") or document.get("config", {}).get("mediaType"):
        found["artifactType"] = kind
    if document.get("annotations"):
        found["annotations"] = document["annotations"]
    return found
