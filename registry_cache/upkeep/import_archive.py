"""Import an OCI image layout: all its blobs, then the images that its index names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.image_layout import NamedImage, read_index
from registry_cache.oci.names import FullName, Tag
from registry_cache.store.interchange.layout_source import ImageLayout
from registry_cache.store.interchange.tar_stream import BrokenArchive
from registry_cache.upkeep.import_session import ImportSession

# An index of indexes is allowed and rare; deeper nesting has no use.
MAX_DEPTH = 3

# Returns the destination of a name as people write it. Raises NameUnknown, NameInvalid.
FindDestination = Callable[[str], FullName]


class UnknownDestination(Exception):
    """The layout does not say which repository something belongs to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ImportNames:
    """Where the operator wants things: in ``upstream`` unless their names say otherwise.

    ``destination`` is for everything in a layout, and ``tag`` for its one image, whatever the layout calls them.
    """

    upstream: str
    find: FindDestination
    destination: FullName | None = None
    tag: Tag | None = None


@dataclass(frozen=True, slots=True)
class _PlannedImage:
    image: NamedImage
    destination: FullName
    tag: Tag | None


def import_layout(session: ImportSession, source: ImageLayout, names: ImportNames, now: datetime) -> None:
    """Import what ``source`` has. Its tags count as known ``now``: whoever imports an archive wants what is in it.

    Raises UnknownDestination, if possible before anything is imported; StoreError, StoreFull, NameUnknown, NameInvalid.
    """
    session.total, session.position = source.total(), source.position
    planned: list[_PlannedImage] | None = None
    imported: set[Digest] = set()
    try:
        for item in source.blobs():
            # If possible before the first blob: there is no point in importing an archive whose names lead nowhere.
            if planned is None and source.index is not None:
                planned = _plan(source, names)
            if session.blob(item.digest, item.size, item.ingest):
                imported.add(item.digest)
    except BrokenArchive as broken:
        session.result.problem(source.place, str(broken))
        if source.index is None:
            return
    if source.index is None:
        session.result.problem(
            source.place, "it has no index.json: it is not an OCI image layout, or not a complete one"
        )
        return
    planned = planned or _plan(source, names)
    session.settle()
    imports = {each.destination: _NameImport(session, each.destination, imported) for each in planned}
    session.result.repositories = len(imports)
    for each in planned:
        if session.dry_run:
            session.result.tags += each.tag is not None
        else:
            imports[each.destination].run(each, now)
    session.end()


class _NameImport:
    """Names the images of one repository: children before what refers to them.

    Only what was ``imported`` gets a name: a manifest in an archive may refer to a blob that is here and that this
    repository may not read.
    """

    def __init__(self, session: ImportSession, destination: FullName, imported: set[Digest]) -> None:
        self._session = session
        self._destination = destination
        self._imported = imported
        self._seen: set[Digest] = set()

    def run(self, planned: _PlannedImage, now: datetime) -> None:
        image = planned.image
        if not self._add(image.digest, image.media_type, MAX_DEPTH):
            self._session.result.problem(str(image), f"its manifest {image.digest} is not complete in it")
        elif planned.tag:
            self._session.tag(self._destination, planned.tag, image.digest, now)

    def _add(self, digest: Digest, media_type: str, depth: int) -> bool:
        if digest in self._seen:
            return True
        manifest = self._session.read_manifest(digest, media_type) if digest in self._imported else None
        if manifest is None:
            return False
        self._seen.add(digest)
        for child in manifest.manifests if depth else ():
            # An index may be here for some platforms only.
            self._session.result.absent += not self._add(child.digest, child.media_type, depth - 1)
        for blob in manifest.blobs:
            here = blob.digest in self._imported and self._session.member(self._destination, blob.digest)
            self._session.result.absent += not here
        return self._session.manifest(self._destination, digest, media_type)


def _plan(source: ImageLayout, names: ImportNames) -> list[_PlannedImage]:
    try:
        images = read_index(source.index or b"")
    except (ValueError, RegistryError) as error:
        raise UnknownDestination(
            f"cannot read what {source.place} names: {getattr(error, 'message', error)}"
        ) from error
    if names.tag and len(images) != 1:
        raise UnknownDestination(
            f"{source.place} has {len(images)} images, which cannot all be {names.tag}: leave the tag out"
        )
    found = [names.destination or _find(names.find, each) for each in images]
    planned = [
        _PlannedImage(image, _destination(source, image, at, found), names.tag or image.tag)
        for image, at in zip(images, found, strict=True)
    ]
    _refuse_clashes(planned)
    return planned


def _refuse_clashes(planned: Sequence[_PlannedImage]) -> None:
    known: dict[tuple[FullName, Tag], NamedImage] = {}
    for each in planned:
        if each.tag:
            other = known.setdefault((each.destination, each.tag), each.image)
            if other.digest != each.image.digest:
                where = f"{each.destination.repository}:{each.tag}"
                raise UnknownDestination(f"{other} and {each.image} would both be {where}")


def _find(find: FindDestination, image: NamedImage) -> FullName | None:
    try:
        return find(image.path) if image.path else None
    except RegistryError as error:
        raise UnknownDestination(f"{image}: {error.message}; or say with --as what it is called here") from error


def _destination(
    source: ImageLayout, image: NamedImage, found: FullName | None, all_found: Sequence[FullName | None]
) -> FullName:
    """Return where an image belongs; one without a name, such as a signature, goes with the others if they agree."""
    others = {each for each in all_found if each}
    destination = found or (others.pop() if len(others) == 1 and not image.tag else None)
    if destination is None:
        raise UnknownDestination(
            f"{source.place} does not say which repository {image} belongs to: "
            "name it with --as, such as --as library/nginx"
        )
    return destination
