"""Check the archives into which clients save an image, by hashing their contents."""

import gzip
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.harness.content import DOCKER_MANIFEST, digest_of
from tests.harness.images import Image


def saved_as(image: Image) -> str:
    """The archive format of podman that keeps an image's configuration; the other one converts the image."""
    return "docker-archive" if image.media_type == DOCKER_MANIFEST else "oci-archive"


def check_archive(archive: Path, image: Image) -> None:
    """Compare what a client saved with the image. Clients store layers uncompressed, or compress them anew."""
    with tarfile.open(archive) as tar:
        if "manifest.json" in tar.getnames():
            (saved,) = json.loads(_member(tar, "manifest.json"))
            check_layers(_member(tar, saved["Config"]), [_member(tar, name) for name in saved["Layers"]], image)
            return
        (entry,) = json.loads(_member(tar, "index.json"))["manifests"]
        manifest = json.loads(_blob(tar, entry))
        layers = [gzip.decompress(_blob(tar, layer)) for layer in manifest["layers"]]
        check_layers(_blob(tar, manifest["config"]), layers, image)


def _blob(tar: tarfile.TarFile, descriptor: dict[str, Any]) -> bytes:
    return _member(tar, f"blobs/{descriptor['digest'].replace(':', '/')}")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def check_layers(config: bytes, layers: Iterable[bytes], image: Image) -> None:
    """The configuration must be the image's, and the unpacked layers those that it names."""
    assert digest_of(config) == image.config
    assert [digest_of(layer) for layer in layers] == json.loads(config)["rootfs"]["diff_ids"]
