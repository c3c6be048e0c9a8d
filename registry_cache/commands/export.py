"""``registry-cache export``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry_cache.commands.command import Command, add_json_argument
from registry_cache.commands.images import add_image_arguments, names, platforms, say
from registry_cache.config import Config, load_config
from registry_cache.errors import ManifestUnknown, RegistryError, StoreError
from registry_cache.oci.platform import Platform

if TYPE_CHECKING:
    from registry_cache.pull.images.export import StoredImage

VERSION = 1
STANDARD_OUTPUT = "-"

_PLATFORM = "a platform to put in, or all, fetched where it is lacking; repeat it for several (default: what is stored)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    add_image_arguments(parser, _PLATFORM)
    parser.add_argument("--to", required=True, metavar="FILE.tar", help="the archive; - is standard output")
    parser.add_argument("--offline", action="store_true", help="fetch nothing: fail where something is lacking")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write stored images into a tar, which is complete or not there; safe beside a running server."""
    # What the modules would log is what the lines say.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    try:
        listed, wanted = _checked(arguments), platforms(arguments)
    except ValueError as error:
        print(f"registry-cache: {error}", file=sys.stderr)
        return 2
    fetches = wanted is not None and not arguments.offline
    config, began = load_config(environ, create=fetches), time.monotonic()
    try:
        found, size = _export(config, fetches, listed, wanted, arguments)
    except RegistryError as error:
        print(f"registry-cache: {error.message}; no archive was written", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("registry-cache: stopped; no archive was written", file=sys.stderr)
        return 3
    _report(found, size, time.monotonic() - began, arguments)
    return 0


def _checked(arguments: argparse.Namespace) -> list[str]:
    """Return the images. Raises ValueError where the command line cannot be."""
    if arguments.to == STANDARD_OUTPUT and sys.stdout.isatty():
        raise ValueError("an archive is nothing for a terminal: name a file, or pipe it on")
    if arguments.to == STANDARD_OUTPUT and arguments.json:
        raise ValueError("--json and the archive cannot both go to standard output: name a file by --to")
    listed = names(arguments)
    if not listed:
        raise ValueError(f"{arguments.file} lists no image")
    return listed


def _export(
    config: Config,
    fetches: bool,
    listed: Sequence[str],
    wanted: Sequence[Platform] | None,
    arguments: argparse.Namespace,
) -> tuple[list[StoredImage], int]:
    """Find the images and write them; return them by name, and the archive's bytes. Raises RegistryError."""
    from registry_cache.commands.bar import Bar
    from registry_cache.store.interchange.archive import ArchiveWriter, write_file_whole
    from registry_cache.wiring import exporting, images_by_name

    export = exporting(config, fetches=fetches)
    if export is None:
        raise StoreError(f"there is no store in {config.root}: registry-cache warm makes one")
    image = images_by_name(config)

    def find(name: str) -> StoredImage:
        with Bar(name, shown=not arguments.json) as bar:
            return export.find(image(name), wanted, bar)

    found = _all(listed, find)
    with Bar(arguments.to, shown=not arguments.json) as bar:
        if arguments.to == STANDARD_OUTPUT:
            return found, export.write(found, ArchiveWriter(sys.stdout.fileno(), "standard output"), bar)
        with write_file_whole(Path(arguments.to)) as descriptor:
            return found, export.write(found, ArchiveWriter(descriptor, arguments.to), bar)


def _all(listed: Sequence[str], find: Callable[[str], StoredImage]) -> list[StoredImage]:
    """Return each image once, by name. Raises RegistryError after every one that fails was told."""
    found: dict[str, StoredImage] = {}
    failed = 0
    for name in listed:
        try:
            one = find(name)
            found[one.image.name] = one
        except RegistryError as error:
            failed += 1
            say(f"failed {name}: {error.message}", file=sys.stderr)
    if failed:
        raise ManifestUnknown(f"{failed} of {len(listed)} images cannot be exported")
    return [found[name] for name in sorted(found)]


def _report(found: Sequence[StoredImage], size: int, seconds: float, arguments: argparse.Namespace) -> None:
    if arguments.json:
        images = [_document(each) for each in found]
        print(json.dumps({"version": VERSION, "archive": arguments.to, "bytes": size, "images": images}, indent=2))
        return
    from registry_cache.upkeep.status_text import size as words

    # Where the archive goes to standard output, words must not.
    file = sys.stderr if arguments.to == STANDARD_OUTPUT else sys.stdout
    for each in found:
        absent = f"; not in it: {', '.join(map(str, each.parts.absent))}" if each.parts.absent else ""
        say(" ".join(["exported", each.image.name, *map(str, each.parts.platforms)]) + absent, file=file)
    say(f"{arguments.to}: {words(size)}, {seconds:.0f} s", file=file)


def _document(found: StoredImage) -> dict[str, object]:
    return {
        "name": found.image.name,
        "digest": str(found.top.digest),
        "platforms": [str(each) for each in found.parts.platforms],
        "absent": [str(each) for each in found.parts.absent],
        "blobs": len(found.sizes),
        "bytes": sum(found.sizes.values()),
    }


COMMAND = Command("export", "write stored images into a tar for another site", run, add_arguments)
