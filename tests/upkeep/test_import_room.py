"""An archive may unpack to more than any disk has: what an import brings is counted while it is read."""

from __future__ import annotations

import io
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from registry_cache.errors import StoreFull
from registry_cache.oci.digest import Digest
from registry_cache.policy.eviction import Bounds
from registry_cache.store.interchange.tar_stream import MAX_HEADER, BrokenArchive, TarStream
from registry_cache.upkeep import import_room
from tests.harness.content import Content
from tests.harness.images import KiB, MiB, make_image
from tests.harness.import_rig import Moved, layout_files, packed, tar_of
from tests.harness.store_rig import open_store

NAME = "io.containerd.image.name"
# What no machine that runs these tests has room for.
HUGE = 2**60


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    return Moved(open_store(tmp_path / "store"))


def image_files(size: int = 64 * KiB) -> dict[str, bytes]:
    content = Content()
    image = make_image(content, "library/app", layers=2, layer_size=size)
    return layout_files([(content, image, {NAME: "docker.io/library/app:1"})])


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def bomb(before: bytes, size: int) -> bytes:
    """A gzip of ``before`` and of ``size`` zeros, which take a thousandth."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    pieces = [squeeze.compress(before)]
    pieces += [squeeze.compress(bytes(min(MiB, size - at))) for at in range(0, size, MiB)]
    return b"".join([*pieces, squeeze.flush()])


@pytest.mark.parametrize("name", ["a file that is skipped", "blobs/sha256/" + "0" * 64])
def test_what_unpacks_to_more_than_the_store_ends(
    moved: Moved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(import_room, "_OTHER_BYTES", MiB)
    moved.bounds = Bounds(max_size=8 * MiB, blob_percent=100)
    moved.archive(bomb(header(name, 64 * MiB), 64 * MiB))
    assert any("unpacks to more than the store may hold" in line or "max_size" in line for line in moved.told())
    assert sum(path.stat().st_size for path in tmp_path.glob("store/**/*") if path.is_file()) < MiB


def test_a_blob_that_is_larger_than_one_may_be_is_left_out_and_the_others_come(moved: Moved) -> None:
    moved.bounds = Bounds(max_size=2 * MiB, blob_percent=25)
    huge = bytes(MiB)
    digest = Digest.of(huge)
    moved.archive(packed(tar_of({f"blobs/sha256/{digest.hex}": huge, **image_files()})))
    assert [line for line in moved.told() if str(digest) in line and "storage.max_blob_percent" in line]
    assert moved.store.blobs.open_any(digest) is None
    assert moved.result.tags == 1


def test_an_import_of_more_than_the_store_holds_ends_before_it_evicts_itself(moved: Moved) -> None:
    moved.bounds = Bounds(max_size=200 * KiB, blob_percent=100)
    with pytest.raises(StoreFull, match=r"more to import than storage\.max_size, 204800 bytes"):
        moved.archive(tar_of(image_files(150 * KiB)))


def test_no_bounds_are_none_but_the_disk(moved: Moved) -> None:
    moved.archive(packed(tar_of(image_files())))
    assert moved.told() == []
    assert moved.result.tags == 1


def read(data: bytes) -> list[str]:
    return [member.name for member in TarStream(io.BytesIO(data)).members()]


def test_any_number_of_headers_before_an_entry_are_too_many() -> None:
    """A few kilobytes of gzip hold thousands of them, and each would have stayed in memory."""
    one = header("x", 512 * KiB, tarfile.XHDTYPE) + (b"20 path=" + b"a" * 11 + b"\n").ljust(512 * KiB, b"\0")
    with pytest.raises(BrokenArchive, match="headers of"):
        read(one * (MAX_HEADER // (512 * KiB) + 1) + header("file", 0))


def test_headers_of_many_entries_are_not_added_up() -> None:
    one = header("x", 512 * KiB, tarfile.XHDTYPE) + (b"20 path=" + b"a" * 11 + b"\n").ljust(512 * KiB, b"\0")
    assert read((one + header("file", 0)) * 4 + bytes(1024)) == ["a" * 11] * 4


def test_a_header_of_a_hundred_thousand_lines_is_read_once() -> None:
    """It took minutes when each line was cut off the rest."""
    lines = b"6 a=b\n" * (MAX_HEADER // 6 - 4) + b"10 path=b\n"
    data = header("x", len(lines), tarfile.XHDTYPE) + lines + bytes(-len(lines) % 512) + header("file", 0)
    began = time.monotonic()
    assert read(data + bytes(1024)) == ["b"]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("size", [HUGE, 8 * 1024**3])
def test_an_entry_that_promises_more_than_comes_ends_too_early(size: int) -> None:
    with pytest.raises(BrokenArchive, match="too early"):
        read(header("blobs/sha256/" + "0" * 64, size))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_an_entry_without_bytes_that_claims_some_hides_nothing(kind: bytes) -> None:
    """Its size would hide what follows from whoever believes it."""
    assert read(header("odd", 1024, kind) + header("file", 0) + bytes(1024)) == ["odd", "file"]


@pytest.mark.parametrize("line", [b"99999999999999999999999 path=x\n", b"-1 path=x\n", b" 11 path=x\n", b"0 path=x\n"])
def test_a_damaged_extended_header_is_told(line: bytes) -> None:
    with pytest.raises(BrokenArchive, match="damaged header"):
        read(header("x", len(line), tarfile.XHDTYPE) + line + bytes(-len(line) % 512))
