"""What is pulled: repeatable incompressible bytes, laid out as the URLs that name them. Knows no server.

    <folder>/v2/bench/app/blobs/sha256:<hex>
    <folder>/v2/bench/app/manifests/sha256:<hex>   and   manifests/<tag>, a link to it

so that nginx serves the folder as it is.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = "bench/app"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_PIECE = 1024 * 1024
_CONFIG_SIZE = 6 * 1024


@dataclass(frozen=True)
class Blob:
    """Something with a digest, ``size`` bytes long."""

    digest: str
    size: int

    @property
    def path(self) -> str:
        return f"/v2/{REPOSITORY}/blobs/{self.digest}"


@dataclass(frozen=True)
class Image:
    """A manifest with its blobs: the config first."""

    tag: str
    digest: str
    blobs: tuple[Blob, ...]

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


class Content:
    """Makes files below ``folder``. What is made with the same seed is the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tags: dict[str, str] = {}
        self._blobs, self._manifests = (folder / "v2" / REPOSITORY / part for part in ("blobs", "manifests"))
        self._blobs.mkdir(parents=True)
        self._manifests.mkdir()

    def blob(self, size: int, seed: str) -> Blob:
        """Write ``size`` random bytes."""
        source, hasher, made = random.Random(seed), hashlib.sha256(), self._blobs / "made"
        with made.open("wb") as file:
            for start in range(0, size, _PIECE):
                piece = source.randbytes(min(_PIECE, size - start))
                hasher.update(piece)
                file.write(piece)
        digest = f"sha256:{hasher.hexdigest()}"
        made.rename(self._blobs / digest)
        return Blob(digest, size)

    def image(self, tag: str, layers: Sequence[int]) -> Image:
        """Write an image whose layers have these sizes in bytes."""
        blobs = [self.blob(size, f"{tag} {number}") for number, size in enumerate((_CONFIG_SIZE, *layers))]
        types = [_CONFIG_TYPE, *[_LAYER_TYPE] * len(layers)]
        described = [
            {"mediaType": kind, "digest": blob.digest, "size": blob.size}
            for kind, blob in zip(types, blobs, strict=True)
        ]
        document = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": described[0], "layers": described[1:]}
        data = json.dumps(document, indent=3).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        (self._manifests / digest).write_bytes(data)
        (self._manifests / tag).hardlink_to(self._manifests / digest)
        self.tags[tag] = digest
        return Image(tag, digest, tuple(blobs))


def manifest_path(reference: str) -> str:
    """The URL's path of a manifest, by tag or digest."""
    return f"/v2/{REPOSITORY}/manifests/{reference}"
