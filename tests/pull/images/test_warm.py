"""Pulling ahead and exporting, in one process: what upstream is asked, what is kept, and what is said when it fails."""

from __future__ import annotations

import errno
import json
import os
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from registry_cache.errors import (
    ManifestUnknown,
    RegistryError,
    StoreError,
    TooManyRequests,
    Unsupported,
    UpstreamCorrupt,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import split_image_name
from registry_cache.oci.platform import Platform
from registry_cache.oci.signed_manifest import SIGNED
from registry_cache.pull.access import Access
from registry_cache.pull.blob import BlobPull
from registry_cache.pull.images.closure import Image
from registry_cache.pull.images.export import Export
from registry_cache.pull.images.manifest_lookup import Layers
from registry_cache.pull.images.warm import Progress, Warm, Warmed
from registry_cache.pull.listing import Listing
from registry_cache.pull.manifest import ManifestPull
from registry_cache.pull.reader_slots import ReaderSlots
from registry_cache.pull.routing import ServedUpstream, Upstreams
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.store.interchange.archive import ArchiveWriter, write_file_whole
from tests.harness.content import APP, OCI_INDEX, OCI_MANIFEST, digest_of
from tests.harness.images import Image as Built
from tests.harness.images import Index, KiB, MiB, make_image, make_index
from tests.harness.pull_rig import ALWAYS_ASK
from tests.harness.schema_1 import signed
from tests.harness.store_rig import HUB, open_store
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect

AMD64, ARM64, S390X = map(Platform.parse, ("linux/amd64", "linux/arm64", "linux/s390x"))


class Site:
    """A store, and one process that warms and exports it."""

    def __init__(self, root: Path, url: str) -> None:
        self.store = store = open_store(root / "store")
        self._archive = root / "archive.tar"
        self._upstreams = Upstreams(ServedUpstream(connect(url), (), ALWAYS_ASK))
        flights = MachineFlights(store.layout)
        manifests = ManifestPull(store.records, flights, lambda: datetime.now(UTC), lambda seconds: None)
        transfers, access_of = Transfers(TransferParts(store.blobs, store.partials)), partial(Access, flights=flights)
        blobs = BlobPull(store.blobs, transfers, ReaderSlots(10), Layers(store.records), access_of)
        listing = Listing(store.records, flights, manifests)
        self._warm = Warm(manifests, blobs, store.records, store.partials, listing)
        self._progress: Progress = lambda done, total: None

    def image(self, name: str) -> Image:
        repository, reference = split_image_name(name)
        return Image(self._upstreams.target(repository, {}), reference)

    def warm(self, name: str = "app:1", *wanted: Platform, progress: Progress = lambda done, total: None) -> Warmed:
        return self._warm.image(self.image(name), wanted or (AMD64,), progress)

    def export(self, *names: str, wanted: Sequence[Platform] | None = None, fetches: bool = False) -> dict[str, bytes]:
        """What is in the archive, by name."""
        export = Export(self.store.records, self.store.blobs, self._warm if fetches else None)
        found = [export.find(self.image(name), wanted) for name in names or ["app:1"]]
        with write_file_whole(self._archive) as descriptor:
            export.write(found, ArchiveWriter(descriptor, str(self._archive)))
        with tarfile.open(self._archive) as tar:
            return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}


@pytest.fixture
def site(tmp_path: Path, upstream: FakeUpstream) -> Site:
    return Site(tmp_path, upstream.url)


def gets(upstream: FakeUpstream, *images: Built) -> list[int]:
    return [upstream.gets(each) for image in images for each in (image.digest, *image.blobs)]


def file_names(digests: Sequence[str]) -> set[str]:
    return {f"blobs/{digest.replace(':', '/')}" for digest in digests} | {"oci-layout", "index.json"}


def named(archive: dict[str, bytes]) -> list[tuple[str, str | None, str]]:
    """(name, short name, digest) of what the archive's index lists."""
    return [
        (
            each["annotations"]["io.containerd.image.name"],
            each["annotations"].get("org.opencontainers.image.ref.name"),
            each["digest"],
        )
        for each in json.loads(archive["index.json"])["manifests"]
    ]


def test_one_platform_is_fetched_once(upstream: FakeUpstream, site: Site) -> None:
    index = make_index(upstream, layer_size=300 * KiB)
    amd64, arm64 = index.images
    first = site.warm()
    assert (first.name, str(first.digest)) == (f"{HUB}/library/app:1", index.digest)
    assert (first.platforms, first.blobs, first.fetched) == ([AMD64], 4, 4)
    assert first.bytes == sum(len(upstream.blob("library/app", blob) or b"") for blob in amd64.blobs)
    again = site.warm()
    assert (again.blobs, again.fetched, again.bytes) == (4, 0, 0)
    assert gets(upstream, amd64, arm64) == [1] * 5 + [0] * 5
    assert upstream.counted_pulls == 2
    assert site.store.files("partial") == set()


def attest(upstream: FakeUpstream, index: Index, image: Built) -> str:
    """Have BuildKit's attestation of an image in its index; its digest."""
    found = make_image(upstream, tag=None, layers=1, seed=70 + index.images.index(image))
    notes = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest}
    child = {"mediaType": OCI_MANIFEST, "digest": found.digest, "size": len(found.manifest)}
    unknown = {"architecture": "unknown", "os": "unknown"}
    _, top = upstream.manifest(APP, "1") or pytest.fail("no index")
    document = {**top.document}
    document["manifests"] += [{**child, "platform": unknown, "annotations": notes}]
    upstream.add_manifest(document, OCI_INDEX, tag="1")
    return found.digest


def test_what_dockerd_pulls_beside_an_image_is_fetched_too(upstream: FakeUpstream, site: Site) -> None:
    """Since 29.1: its attestation, and that one's signatures; it pulls no image of which it does not get these."""
    index = make_index(upstream)
    ours, other = (attest(upstream, index, image) for image in index.images)
    layer = upstream.add_blob(b"signed")
    kinds = ("application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.example.scan")
    signature, scan = (
        upstream.add_manifest(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": kind,
                "layers": [{"mediaType": kind, "digest": layer, "size": 6}],
                "subject": {"mediaType": OCI_MANIFEST, "digest": ours, "size": 1},
            }
        )
        for kind in kinds
    )

    warmed = site.warm()

    assert (warmed.platforms, warmed.blobs) == ([AMD64], 4 + 2 + 1)
    # Of the attestation itself, and of what refers to it.
    assert [upstream.gets(each) for each in (ours, signature, layer, other, scan)] == [2, 1, 1, 0, 0]
    assert upstream.counted_pulls == 4
    assert site.warm().fetched == 0


def test_an_attestation_that_the_registry_lacks_is_left_out(upstream: FakeUpstream, site: Site) -> None:
    """As where an index was copied with one of its platforms."""
    index = make_index(upstream)
    attest(upstream, index, index.images[0])
    _, top = upstream.manifest(APP, "1") or pytest.fail("no index")
    gone = top.document["manifests"][-1]["digest"]
    upstream.add_manifest(top.data.replace(gone.encode(), digest_of(b"gone").encode()), OCI_INDEX, tag="1")
    assert site.warm().fetched == 4


def test_what_an_index_lacks_is_said_after_the_rest_is_here(upstream: FakeUpstream, site: Site) -> None:
    index = make_index(upstream)
    with pytest.raises(ManifestUnknown, match="app:1 has no linux/s390x: it has linux/arm64, linux/amd64"):
        site.warm("app:1", S390X, ARM64)
    assert gets(upstream, *index.images) == [0] * 5 + [1] * 5


def test_an_image_without_an_index_is_for_everyone(upstream: FakeUpstream, site: Site) -> None:
    image = make_image(upstream, kind="docker")
    assert site.warm("app:1", S390X).platforms == []
    assert gets(upstream, image) == [1] * 5


def test_an_image_of_schema_1_is_warmed_and_no_archive_holds_it(upstream: FakeUpstream, site: Site) -> None:
    layer = upstream.add_blob(b"layer" * 100, "library/app")
    document = {"schemaVersion": 1, "name": "library/app", "fsLayers": [{"blobSum": layer}], "history": []}
    part, whole = signed(document)
    upstream.add_manifest(whole, media_type=SIGNED, tag="1", digest=str(Digest.of(part)), repository="library/app")
    warmed = site.warm()
    assert (warmed.fetched, warmed.bytes) == (1, 500)
    with pytest.raises(Unsupported, match=r"archive .* cannot hold"):
        site.export()


def test_an_index_in_an_index(upstream: FakeUpstream, site: Site) -> None:
    inner = make_index(upstream, tag=None)
    entry = {"mediaType": OCI_INDEX, "digest": inner.digest, "size": 1}
    upstream.add_manifest({"schemaVersion": 2, "manifests": [entry, entry]}, OCI_INDEX, tag="1")
    assert site.warm().platforms == [AMD64]
    assert gets(upstream, *inner.images) == [1] * 5 + [0] * 5


def test_progress_counts_what_arrives(upstream: FakeUpstream, site: Site) -> None:
    image = make_image(upstream, layers=2, layer_size=1 * MiB)
    upstream.faults.of(image.layers[1]).hold_at = 512 * KiB
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if done > 1 * MiB + 256 * KiB:
            upstream.faults.release()  # what is in the partial was seen

    assert site.warm(progress=progress).fetched == 3
    assert all(done <= total for done, total in told)
    assert told == sorted(told)


def test_a_wrong_blob_costs_only_itself(upstream: FakeUpstream, site: Site) -> None:
    image = make_image(upstream, layers=8)
    upstream.faults.of(image.layers[0]).corrupt_at = 7
    with pytest.raises(UpstreamCorrupt, match=image.layers[0]):
        site.warm()
    upstream.faults.of(image.layers[0]).corrupt_at = None
    result = site.warm()
    assert 1 <= result.fetched < result.blobs == 9
    assert [upstream.gets(blob) for blob in image.blobs] == [1, 3, *[1] * 7]


def test_a_limit_stops_what_it_counts_and_nothing_else(upstream: FakeUpstream, site: Site) -> None:
    make_index(upstream)
    make_index(upstream, "library/other", seed=1)
    site.warm()
    upstream.faults.rate_limit = 0
    asked = len(upstream.requests("GET", "/manifests/"))
    for _ in range(3):
        with pytest.raises(TooManyRequests, match="no cached copy; try again in"):
            site.warm("other:1")
        assert site.warm().fetched == 0
    assert len(upstream.requests("GET", "/manifests/")) == asked + 1


def test_silence_leaves_what_is_here(upstream: FakeUpstream, site: Site) -> None:
    make_index(upstream)
    assert site.warm().stale is None
    upstream.stop()
    assert "docker.io" in (site.warm().stale or "")
    upstream.start()


def test_a_layer_that_its_registry_does_without(upstream: FakeUpstream, site: Site) -> None:
    image = json.loads(make_image(upstream).manifest)
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    image["layers"].append({"mediaType": foreign, "digest": digest_of(b"elsewhere"), "size": 9, "urls": ["http://x"]})
    upstream.add_manifest(image, OCI_MANIFEST, tag="1")
    result = site.warm()
    assert (result.blobs, result.fetched) == (4, 4)
    assert len(site.export()) == 3 + 4
    image["layers"][-1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar"
    upstream.add_manifest(image, OCI_MANIFEST, tag="1")
    with pytest.raises(RegistryError, match=digest_of(b"elsewhere")):
        site.warm()


@pytest.mark.parametrize("call", ["link", "rename", "write"])
def test_a_disk_that_keeps_nothing_is_a_failure(
    upstream: FakeUpstream, site: Site, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    make_image(upstream, layer_size=1 * MiB)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StoreError):
            site.warm()
    site.warm()
    assert site.store.wrong_blobs() == []


def test_an_export_holds_what_is_stored_whole(upstream: FakeUpstream, site: Site) -> None:
    index = make_index(upstream)
    amd64, arm64 = index.images
    site.warm()
    archive = site.export()
    assert set(archive) == file_names([index.digest, amd64.digest, *amd64.blobs])
    assert all(digest_of(data) == f"sha256:{name[13:]}" for name, data in archive.items() if "/" in name)
    assert named(archive) == [(f"{HUB}/library/app:1", "1", index.digest)]
    # A platform of which a client has looked at the manifest alone.
    upstream.faults.of(arm64.layers[0]).corrupt_at = 7
    with pytest.raises(UpstreamCorrupt):
        site.warm("app:1", ARM64)
    assert site.export() == archive


def test_an_export_fetches_what_is_wanted(upstream: FakeUpstream, site: Site) -> None:
    index = make_index(upstream)
    arm64 = index.images[1]
    site.warm()
    remedy = "run registry-cache warm docker.io/library/app:1 --platform linux/arm64"
    with pytest.raises(ManifestUnknown, match=remedy):
        site.export(wanted=[ARM64])
    archive = site.export(wanted=[ARM64], fetches=True)
    assert set(archive) == file_names([index.digest, arm64.digest, *arm64.blobs])
    asked = len(upstream.requests("GET"))
    assert site.export(wanted=[ARM64]) == archive
    assert len(site.export(wanted=())) == 2 + 1 + 2 * 5
    assert len(upstream.requests("GET")) == asked
    with pytest.raises(ManifestUnknown, match="has no linux/s390x"):
        site.export(wanted=[S390X])


def test_shared_layers_are_in_it_once_and_names_stay_apart(upstream: FakeUpstream, site: Site) -> None:
    image = make_image(upstream, layers=2)
    upstream.tag("library/app", "2", image.digest)
    other = make_image(upstream, "library/other", layers=2)
    for name in ("app:1", "app:2", "other:1", f"app@{image.digest}"):
        site.warm(name)
    archive = site.export("other:1", "app:2", "app:1", f"app@{image.digest}")
    assert named(archive) == [
        (f"{HUB}/library/app:1", f"{HUB}/library/app:1", image.digest),
        (f"{HUB}/library/app:2", "2", image.digest),
        (f"{HUB}/library/app@{image.digest}", None, image.digest),
        (f"{HUB}/library/other:1", f"{HUB}/library/other:1", other.digest),
    ]
    assert image.blobs == other.blobs
    assert set(archive) == file_names([image.digest, *image.blobs])


def test_what_is_not_stored(upstream: FakeUpstream, site: Site) -> None:
    index = make_index(upstream)
    for name in ("app:1", f"app@{index.digest}"):
        with pytest.raises(ManifestUnknown, match=r"it is not stored: run registry-cache warm docker\.io/library/app"):
            site.export(name)
    with pytest.raises(ManifestUnknown):
        site.warm("app:1", S390X)
    with pytest.raises(ManifestUnknown, match="no platform of it is stored whole: run"):
        site.export()
    assert upstream.requests("GET", "/blobs/") == []
