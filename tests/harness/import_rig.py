"""What can be imported, made by hand: a registry's storage folder, and OCI image layouts as a folder and as a tar."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.policy.eviction import Bounds
from registry_cache.store.interchange.distribution import DistributionFolder
from registry_cache.store.interchange.ingest import Arrival
from registry_cache.store.interchange.layout_source import LayoutArchive, LayoutFolder
from registry_cache.upkeep.import_archive import ImportNames, import_layout
from registry_cache.upkeep.import_distribution import import_distribution
from registry_cache.upkeep.import_room import ImportRoom
from registry_cache.upkeep.import_session import ImportResult, ImportSession
from tests.harness.content import Content, digest_of
from tests.harness.images import Image, make_image
from tests.harness.store_rig import HUB, Store

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HUB_ONLY = ImportNames(HUB, lambda path: FullName(HUB, Repository.parse(path.removeprefix(f"{HUB}/"))))


class OldRegistry:
    """The storage folder of a CNCF Distribution registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "docker/registry/v2"
        for name in ("blobs", "repositories"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def data(self, digest: str) -> Path:
        algorithm, _, hex_ = digest.partition(":")
        return self.root / "blobs" / algorithm / hex_[:2] / hex_ / "data"

    def blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.data(digest).parent.mkdir(parents=True, exist_ok=True)
        self.data(digest).write_bytes(data)
        return digest

    def link(self, repository: str, below: str, digest: str) -> Path:
        path = self.root / "repositories" / repository / below / "link"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(digest)
        return path

    def layer(self, repository: str, digest: str) -> Path:
        return self.link(repository, f"_layers/{digest.replace(':', '/')}", digest)

    def manifest(self, repository: str, data: bytes, tag: str = "") -> str:
        digest = self.blob(data)
        self.link(repository, f"_manifests/revisions/{digest.replace(':', '/')}", digest)
        if tag:
            self.link(repository, f"_manifests/tags/{tag}/index/{digest.replace(':', '/')}", digest)
            self.link(repository, f"_manifests/tags/{tag}/current", digest)
        return digest

    def image(self, repository: str = "library/app", tag: str = "1", **options: Any) -> Image:
        """An image as a pull through the registry leaves it."""
        content = Content()
        image = make_image(content, repository, tag, **{"layers": 2, "layer_size": 1024, **options})
        for digest in image.blobs:
            self.layer(repository, self.blob(content.blob(repository, digest) or b""))
        self.manifest(repository, image.manifest, tag)
        return image


class Moved:
    """Imports into one store; ``result`` is the last one's."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.result = ImportResult()
        self.bounds = Bounds()

    def distribution(self, old: OldRegistry, **options: Any) -> ImportResult:
        session = self._session(**options)
        source = DistributionFolder.find(old.folder, session.result.problem)
        assert source
        import_distribution(session, source, str(old.folder), HUB)
        return self.result

    def folder(self, path: Path, names: ImportNames = HUB_ONLY, **options: Any) -> ImportResult:
        import_layout(self._session(**options), LayoutFolder(path), names, NOW)
        return self.result

    def archive(self, data: bytes, names: ImportNames = HUB_ONLY, **options: Any) -> ImportResult:
        session = self._session(**options)
        path = Path(self.store.layout.root).with_suffix(".tar")
        path.write_bytes(data)
        with path.open("rb") as file:
            source = LayoutArchive(file, "the archive", session.result.problem, session.room.unpacked)
            import_layout(session, source, names, NOW)
        return self.result

    def told(self) -> list[str]:
        return [f"{each.what}: {each.why}" for each in self.result.left_out]

    def counts(self) -> list[int]:
        """Blobs linked, copied, here already."""
        return [self.result.tallies[how].blobs for how in (Arrival.LINKED, Arrival.COPIED, Arrival.HERE)]

    def holds(self, image: Image, tag: str = "1", upstream: str = HUB) -> bool:
        """Tell whether a pull of the whole image needs nothing from upstream but the word that the tag still holds."""
        repository = Repository.parse(image.repository)
        found = self.store.records.manifest(FullName(upstream, repository), Digest.parse(image.digest))
        blobs = [self.store.blobs.open(FullName(upstream, repository), Digest.parse(digest)) for digest in image.blobs]
        record = tag and self.store.records.tag(FullName(upstream, repository), Tag.parse(tag))
        named = not tag or bool(record and str(record.digest) == image.digest)
        return bool(found and found.data == image.manifest and all(blobs) and named)

    def _session(self, *, may_link: bool = True, dry_run: bool = False) -> ImportSession:
        room = ImportRoom(self.store.layout, self.bounds)
        session = ImportSession(
            self.store.layout, room, may_link=may_link, dry_run=dry_run, progress=lambda done, total: None
        )
        self.result = session.result
        return session


def layout_files(images: Iterable[tuple[Content, Image, Mapping[str, str]]]) -> dict[str, bytes]:
    """The files of a layout; each image with its annotations."""
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    entries = []
    for content, image, named in images:
        blobs = {digest: content.blob(image.repository, digest) or b"" for digest in image.blobs}
        blobs[image.digest] = image.manifest
        files |= {f"blobs/{digest.replace(':', '/')}": data for digest, data in blobs.items()}
        descriptor = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
        entries.append(descriptor | {"annotations": dict(named)})
    return {"index.json": json.dumps({"schemaVersion": 2, "manifests": entries}).encode()} | files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tar_of(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT, change: Callable[[Any], object] = id) -> bytes:
    """A tar; ``change`` may alter each entry before it is written."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            change(entry)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def inodes(root: Path) -> set[int]:
    """Of every blob below a store's or an old registry's root."""
    return {os.stat(path).st_ino for path in root.glob("**/blobs/*/*/**/*") if path.is_file()}
