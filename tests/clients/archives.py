"""What clients saved of an image, hashed by ourselves."""

import gzip
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.harness.content import DOCKER_MANIFEST, digest_of
from tests.harness.images import Image


def saved_as(image: Image) -> str:
    """podman's word for the archive that keeps an image's configuration; in the other it becomes another image."""
    return "docker-archive" if image.media_type == DOCKER_MANIFEST else "oci-archive"


def check_archive(archive: Path, image: Image) -> None:
    """Hash what a client saved: its layers are unpacked, or packed anew."""
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
    """The image's own configuration, and, unpacked, the layers that it names."""
    assert digest_of(config) == image.config
    assert [digest_of(layer) for layer in layers] == json.loads(config)["rootfs"]["diff_ids"]
