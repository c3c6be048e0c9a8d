"""An import of an OCI image layout: all its blobs, then the images that its index names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.layout_names import NamedImage, read_index
from registry_cache.oci.names import Tag
from registry_cache.store.interchange.layout_source import ImageLayout
from registry_cache.store.interchange.tar_stream import BrokenArchive
from registry_cache.upkeep.importer import MovingIn, Place

# An index of indexes is legal and rare; one that is nested deeper is somebody's joke.
MAX_DEPTH = 3

# Says where a registry and repository as people write them belong. Raises NameUnknown, NameInvalid.
Find = Callable[[str], Place]


class Unnamed(Exception):
    """The layout does not say which repository something belongs to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where things belong: to ``upstream`` where their names do not tell.

    ``place`` is for everything in a layout, and ``tag`` for its one image, whatever they are called in it.
    """

    upstream: str
    find: Find
    place: Place | None = None
    tag: Tag | None = None


@dataclass(frozen=True, slots=True)
class _Placed:
    named: NamedImage
    place: Place
    tag: Tag | None


def import_layout(moving: MovingIn, source: ImageLayout, wanted: Wanted, now: datetime) -> None:
    """Bring what ``source`` has. Its tags are taken for the news of ``now``: whoever imports an archive means it.

    Raises Unnamed, where it is known early before anything is taken; StoreError, StoreFull, NameUnknown, NameInvalid.
    """
    moving.total, moving.position = source.total(), source.position
    placed: list[_Placed] | None = None
    brought: set[Digest] = set()
    try:
        for item in source.blobs():
            # Before the first blob, if it can be: an archive whose names lead nowhere is not worth its bytes.
            if placed is None and source.index is not None:
                placed = _placed(source, wanted)
            if moving.blob(item.digest, item.size, item.ingest):
                brought.add(item.digest)
    except BrokenArchive as broken:
        moving.result.problem(source.place, str(broken))
        if source.index is None:
            return
    if source.index is None:
        moving.result.problem(source.place, "it has no index.json: it is no OCI image layout, or not a whole one")
        return
    placed = placed or _placed(source, wanted)
    moving.settle()
    names = {each.place: _Names(moving, each.place, brought) for each in placed}
    moving.result.repositories = len(names)
    for each in placed:
        if moving.rehearses:
            moving.result.tags += each.tag is not None
        else:
            names[each.place].run(each, now)


class _Names:
    """The names of a repository's images: children before what names them.

    Only what was ``brought`` gets one: a manifest in an archive may name what somebody else may not read here.
    """

    def __init__(self, moving: MovingIn, place: Place, brought: set[Digest]) -> None:
        self._moving = moving
        self._place = place
        self._brought = brought
        self._seen: set[Digest] = set()

    def run(self, placed: _Placed, now: datetime) -> None:
        named = placed.named
        if not self._add(named.digest, named.media_type, MAX_DEPTH):
            self._moving.result.problem(str(named), f"its manifest {named.digest} is not in it whole")
        elif placed.tag:
            self._moving.tag(self._place, placed.tag, named.digest, now)

    def _add(self, digest: Digest, media_type: str, depth: int) -> bool:
        if digest in self._seen:
            return True
        found = self._moving.peek(digest, media_type) if digest in self._brought else None
        if found is None:
            return False
        self._seen.add(digest)
        for child in found.manifests if depth else ():
            # An index may be here for some platforms only.
            self._moving.result.absent += not self._add(child.digest, child.media_type, depth - 1)
        for blob in found.blobs:
            here = blob.digest in self._brought and self._moving.member(self._place, blob.digest)
            self._moving.result.absent += not here
        return self._moving.manifest(self._place, digest, media_type)


def _placed(source: ImageLayout, wanted: Wanted) -> list[_Placed]:
    try:
        images = read_index(source.index or b"")
    except (ValueError, RegistryError) as error:
        raise Unnamed(f"cannot read what {source.place} names: {getattr(error, 'message', error)}") from error
    if wanted.tag and len(images) != 1:
        raise Unnamed(f"{source.place} has {len(images)} images, which cannot all be {wanted.tag}: leave the tag out")
    places = [wanted.place or _found(wanted.find, each) for each in images]
    placed = [
        _Placed(each, _sure(source, images, places, at), wanted.tag or each.tag) for at, each in enumerate(images)
    ]
    _refuse_clashes(placed)
    return placed


def _refuse_clashes(placed: Sequence[_Placed]) -> None:
    known: dict[tuple[Place, Tag], NamedImage] = {}
    for each in placed:
        if each.tag:
            other = known.setdefault((each.place, each.tag), each.named)
            if other.digest != each.named.digest:
                raise Unnamed(f"{other} and {each.named} would both be {each.place.repository}:{each.tag}")


def _found(find: Find, named: NamedImage) -> Place | None:
    try:
        return find(named.path) if named.path else None
    except RegistryError as error:
        raise Unnamed(f"{named}: {error.message}; or say by --as what it is called here") from error


def _sure(source: ImageLayout, images: Sequence[NamedImage], places: Sequence[Place | None], at: int) -> Place:
    """Return where an image belongs; one without a name, such as a signature, where the only other ones do."""
    others = {each for each in places if each}
    place = places[at] or (others.pop() if len(others) == 1 and not images[at].tag else None)
    if place is None:
        raise Unnamed(
            f"{source.place} does not say which repository {images[at]} belongs to: "
            "name it by --as, such as --as library/nginx"
        )
    return place
