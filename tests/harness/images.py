"""Images, indexes and artifacts that real clients accept, put together from repeatable bytes."""

import gzip
import io
import json
import random
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.harness.components import require
from tests.harness.content import (
    APP,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Content,
    descriptor,
    digest_of,
)

KiB = 1024
MiB = 1024 * KiB
Kind = Literal["oci", "docker"]
Compression = Literal["gzip", "zstd", ""]

MANIFEST = {"oci": OCI_MANIFEST, "docker": DOCKER_MANIFEST}
INDEX = {"oci": OCI_INDEX, "docker": DOCKER_INDEX}
CONFIG = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "docker": "application/vnd.docker.container.image.v1+json",
}
LAYER = {"oci": "application/vnd.oci.image.layer.v1.tar", "docker": "application/vnd.docker.image.rootfs.diff.tar"}
LAYER_SEPARATOR = {"oci": "+", "docker": "."}
EMPTY = "application/vnd.oci.empty.v1+json"
COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
CREATED = "2024-01-01T00:00:00Z"


@dataclass(frozen=True)
class Image:
    """One image's manifest and what it names."""

    repository: str
    digest: str
    media_type: str
    manifest: bytes
    config: str
    layers: tuple[str, ...]
    platform: str

    @property
    def blobs(self) -> tuple[str, ...]:
        return (self.config, *self.layers)


@dataclass(frozen=True)
class Index:
    repository: str
    digest: str
    media_type: str
    images: tuple[Image, ...]


def random_bytes(size: int, seed: int | str = 0) -> bytes:
    """The same incompressible bytes for the same seed."""
    return random.Random(seed).randbytes(size)


def layer_tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of executable files by path; the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def compress(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, compresslevel=1, mtime=0)
    if compression == "zstd":
        return subprocess.run([require("zstd"), "-q", "-1"], input=data, capture_output=True, check=True).stdout
    return data


def make_image(
    upstream: Content,
    repository: str = APP,
    tag: str | None = "1",
    *,
    layers: int = 3,
    layer_size: int = 64 * KiB,
    kind: Kind = "oci",
    platform: str = "linux/amd64",
    compression: Compression = "gzip",
    files: Mapping[str, bytes] | None = None,
    command: Sequence[str] = ("/hello",),
    seed: int = 0,
) -> Image:
    """Add an image. No client accepts zstd in an image of Docker's media types.

    Layer i holds one random file of `layer_size` bytes, /data/i; layer 0 also holds `files`.
    """
    tars = [
        layer_tar({**(files or {} if i == 0 else {}), f"data/{i}": random_bytes(layer_size, f"{seed} {i} {platform}")})
        for i in range(layers)
    ]
    system, architecture = platform.split("/")
    config = {
        "created": CREATED,
        "architecture": architecture,
        "os": system,
        "config": {"Cmd": list(command), "Env": ["PATH=/"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        "history": [{"created": CREATED, "created_by": f"layer {i}"} for i in range(layers)],
    }
    media_type = LAYER[kind] + (LAYER_SEPARATOR[kind] + compression if compression else "")
    config_part = _add(upstream, repository, CONFIG[kind], json.dumps(config).encode())
    layer_parts = [_add(upstream, repository, media_type, compress(tar, compression)) for tar in tars]
    manifest = _document(MANIFEST[kind], config=config_part, layers=layer_parts)
    return Image(
        repository,
        upstream.add_manifest(manifest, MANIFEST[kind], repository, tag),
        MANIFEST[kind],
        manifest,
        config_part["digest"],
        tuple(part["digest"] for part in layer_parts),
        platform,
    )


def make_index(
    upstream: Content,
    repository: str = APP,
    tag: str | None = "1",
    *,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    kind: Kind = "oci",
    **image: Any,
) -> Index:
    """Add an index with one untagged image a platform; `image` goes to `make_image`."""
    images = tuple(
        make_image(upstream, repository, None, kind=kind, platform=platform, **image) for platform in platforms
    )
    entries = [
        {
            "mediaType": each.media_type,
            "digest": each.digest,
            "size": len(each.manifest),
            "platform": dict(zip(("os", "architecture"), each.platform.split("/"), strict=True)),
        }
        for each in images
    ]
    document = _document(INDEX[kind], manifests=entries)
    return Index(repository, upstream.add_manifest(document, INDEX[kind], repository, tag), INDEX[kind], images)


def make_artifact(
    upstream: Content,
    subject: str | None = None,
    repository: str = APP,
    tag: str | None = None,
    *,
    artifact_type: str = "application/vnd.example.sbom.v1+json",
    data: bytes = b'{"sbom":[]}',
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Add an artifact, one of `subject`'s referrers if there is one (the digest of a manifest here). Its digest."""
    found = upstream.manifest(repository, subject) if subject else None
    parts: dict[str, Any] = {"artifactType": artifact_type}
    parts["config"] = _add(upstream, repository, EMPTY, b"{}")
    parts["layers"] = [_add(upstream, repository, artifact_type, data)]
    if found:
        parts["subject"] = {key: descriptor(*found)[key] for key in ("mediaType", "digest", "size")}
    if annotations:
        parts["annotations"] = dict(annotations)
    return upstream.add_manifest(_document(OCI_MANIFEST, **parts), OCI_MANIFEST, repository, tag)


def sign_as_cosign(upstream: Content, digest: str, repository: str = APP) -> str:
    """Add a cosign-style signature, tagged `sha256-<hex>.sig`. The tag."""
    tag = digest.replace(":", "-") + ".sig"
    make_artifact(upstream, None, repository, tag, artifact_type=COSIGN_LAYER, data=f'{{"signs":"{digest}"}}'.encode())
    return tag


def make_fallback_tag(upstream: Content, subject: str, repository: str = APP) -> str:
    """Tag an index of the referrers of `subject` as clients of old registries do: spec.md, "Referrers Tag Schema"."""
    tag = subject.replace(":", "-")
    document = _document(OCI_INDEX, manifests=upstream.referrers(repository, subject))
    upstream.add_manifest(document, OCI_INDEX, repository, tag)
    return tag


def _add(upstream: Content, repository: str, media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": upstream.add_blob(data, repository), "size": len(data)}


def _document(media_type: str, **parts: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, **parts}, indent=2).encode()
