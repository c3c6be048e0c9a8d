"""``registry-cache remove``"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from registry_cache.commands.command import CommandError, add_force_argument
from registry_cache.commands.images import image_finder
from registry_cache.commands.rules import require_same_rules
from registry_cache.commands.start import become_owner, start
from registry_cache.config import Config
from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import ALGORITHMS, Layout
from registry_cache.store.records import Records
from registry_cache.store.removal import Removal, RemovalResult
from registry_cache.upkeep.report import counted, printable, size
from registry_cache.upkeep.repository_details import some_tags

# Of those that are here in place of what was named.
_SOME_TAGS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_force_argument(parser)
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a name such as library/nginx:1.27, name@sha256:…, or a digest alone"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Remove images from the store at once; safe beside a running server, and asks no upstream."""
    config = start(arguments, environ)
    become_owner(config.root)
    layout = Layout.find(config.root)
    if layout is None:
        raise CommandError(f"there is no store in {config.root}", 1)
    require_same_rules(arguments, config, layout)
    for image in arguments.images:
        removal = Removal(layout)
        if not _remove(config, image, removal):
            raise CommandError(f"{_whole(config, image)} is not here{_suggestion(config, image, layout)}", 1)
        print(printable(f"removed {image}: {_words(removal.result)}"), flush=True)
    return 0


def _remove(config: Config, image: str, removal: Removal) -> bool:
    """Remove what ``image`` names; False if it is not here. Raises StoreError, and CommandError for a bad name."""
    try:
        if image.partition(":")[0] in ALGORITHMS:
            digest, found = Digest.parse(image), None
        else:
            found = image_finder(config)(image)
    except RegistryError as error:
        raise CommandError(error.message) from error
    if found is None:
        return removal.digest(digest)
    target = found.target
    if isinstance(found.reference, Tag):
        return removal.tag(target.name, found.reference)
    return removal.digest(found.reference, target.name)


def _whole(config: Config, image: str) -> str:
    """Return the image's name with the tag that was meant, if it has none: who typed none may not think of latest."""
    if image.partition(":")[0] in ALGORITHMS:
        return image
    reference = str(image_finder(config)(image).reference)
    return image if image.endswith((f":{reference}", f"@{reference}")) else f"{image}:{reference}"


def _suggestion(config: Config, image: str, layout: Layout) -> str:
    """Return what may be meant.

    Another tag; or Docker Hub's own images, which are in ``library``, and its clients leave that out.
    """
    remedy = ": registry-cache list prints what is"
    if image.partition(":")[0] in ALGORITHMS:
        return remedy
    found = image_finder(config)(image)
    upstream, name = found.target.name
    records = Records(layout, Blobs(layout))
    if "/" in name:
        return _other_tags(layout, found.target.name) or remedy
    official = FullName(upstream, Repository.parse(f"library/{name}"))
    is_tag = isinstance(found.reference, Tag)
    look: Callable[..., object] = records.tag if is_tag else records.manifest
    if look(official, found.reference) is None:
        return _other_tags(layout, found.target.name) or _other_tags(layout, official) or remedy
    separator = ":" if is_tag else "@"
    return f", but library/{name} is: registry-cache remove {official}{separator}{found.reference}"


def _other_tags(layout: Layout, name: FullName) -> str:
    tags = some_tags(layout, str(name), _SOME_TAGS)
    return f", but {name} is, as {', '.join(tags)}" if tags else ""


def _words(result: RemovalResult) -> str:
    parts = [f"{counted(result.names, 'name')}, {counted(result.blobs, 'blob')}, {size(result.bytes)}"]
    if result.shared:
        parts.append(counted(result.shared, "blob stays, other images have it", "blobs stay, other images have them"))
    if result.in_use:
        goes = "blob is in use and goes with a later cleanup", "blobs are in use and go with a later cleanup"
        parts.append(counted(result.in_use, *goes))
    return "; ".join(parts)
