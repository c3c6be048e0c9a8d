"""``registry-cache export``"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry_cache.commands.command import CommandError, add_json_argument, print_report, silence_log
from registry_cache.commands.images import (
    add_image_arguments,
    image_finder,
    listed_images,
    make_warm,
    print_line,
    wanted_platforms,
)
from registry_cache.commands.progress import ProgressBar
from registry_cache.commands.start import as_owner, start
from registry_cache.config import Config
from registry_cache.errors import ManifestUnknown, RegistryError, StoreError
from registry_cache.oci.platform import Platform
from registry_cache.pull.images.export import Export, StoredImage
from registry_cache.store.blobs import Blobs
from registry_cache.store.interchange.archive import ArchiveWriter, write_file_whole
from registry_cache.store.layout import Layout
from registry_cache.store.records import Records
from registry_cache.upkeep.report import Report, counted, size
from registry_cache.wiring.statistics import command_recorder

STANDARD_OUTPUT = "-"

_PLATFORM = "a platform to put in, or all, fetched where it is lacking; repeat it for several (default: what is stored)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    add_image_arguments(parser, _PLATFORM)
    parser.add_argument("--to", required=True, metavar="FILE.tar", help="the archive; - is standard output")
    parser.add_argument("--offline", action="store_true", help="fetch nothing: fail where something is lacking")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write stored images into a tar, which is complete or not there; safe beside a running server."""
    silence_log()
    if arguments.to == STANDARD_OUTPUT and sys.stdout.isatty():
        raise CommandError("an archive cannot be written to a terminal: name a file, or pipe it")
    if arguments.to == STANDARD_OUTPUT and arguments.json:
        raise CommandError("--json and the archive cannot both go to standard output: name a file with --to")
    listed, wanted = listed_images(arguments), wanted_platforms(arguments)
    if not listed:
        raise CommandError(f"{arguments.file} lists no image")
    fetches = wanted is not None and not arguments.offline
    # Lines must not go where the archive goes.
    file = sys.stderr if arguments.to == STANDARD_OUTPUT else sys.stdout
    config, began = start(arguments, environ, create=fetches, asks_upstream=fetches, file=file), time.monotonic()
    try:
        images, written = _export(config, fetches, listed, wanted, arguments)
    except RegistryError as error:
        raise CommandError(f"{error.message}; no archive was written", 1) from error
    except KeyboardInterrupt:
        raise CommandError("stopped; no archive was written", 3) from None
    report = ExportReport(arguments.to, images, written, time.monotonic() - began)
    return print_report(report, as_json=arguments.json, file=file)


def _export(
    config: Config,
    fetches: bool,
    listed: Sequence[str],
    wanted: Sequence[Platform] | None,
    arguments: argparse.Namespace,
) -> tuple[list[StoredImage], int]:
    """Find the images and write them; return them by name, and the archive's bytes. Raises RegistryError."""
    with as_owner(config.root):
        warm = make_warm(config) if fetches else None
    layout = Layout.find(config.root)
    if layout is None:
        raise StoreError(f"there is no store in {config.root}: registry-cache warm makes one")
    blobs = Blobs(layout)
    export, find_image = Export(Records(layout, blobs), blobs, warm), image_finder(config)

    def find(name: str) -> StoredImage:
        with ProgressBar(name, shown=not arguments.json) as bar:
            return export.find(find_image(name), wanted, bar)

    with as_owner(config.root), command_recorder(config) if fetches else contextlib.nullcontext():
        found = _find_all(listed, find)
    with ProgressBar(arguments.to, shown=not arguments.json) as bar:
        if arguments.to == STANDARD_OUTPUT:
            return found, export.write(found, ArchiveWriter(sys.stdout.fileno(), "standard output"), bar)
        with write_file_whole(Path(arguments.to)) as descriptor:
            return found, export.write(found, ArchiveWriter(descriptor, arguments.to), bar)


def _find_all(listed: Sequence[str], find: Callable[[str], StoredImage]) -> list[StoredImage]:
    """Return each image once, by name. Raises RegistryError after every failure was printed."""
    found: dict[str, StoredImage] = {}
    failed = 0
    for name in listed:
        try:
            one = find(name)
            found[one.image.name] = one
        except RegistryError as error:
            failed += 1
            print_line(f"failed {name}: {error.message}", file=sys.stderr)
    if failed:
        raise ManifestUnknown(f"{failed} of {counted(len(listed), 'image')} cannot be exported")
    return [found[name] for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class ExportReport(Report):
    """``images`` written to ``archive``, of so many bytes, in so many seconds."""

    archive: str
    images: Sequence[StoredImage]
    bytes: int
    seconds: float

    def lines(self) -> Iterator[str]:
        for each in self.images:
            absent = f"; not in it: {', '.join(map(str, each.parts.absent))}" if each.parts.absent else ""
            yield " ".join(["exported", each.image.name, *map(str, each.parts.platforms)]) + absent
        yield f"{self.archive}: {size(self.bytes)}, {self.seconds:.0f} s"

    def document(self) -> dict[str, object]:
        return {"archive": self.archive, "bytes": self.bytes, "images": [_document(each) for each in self.images]}


def _document(found: StoredImage) -> dict[str, object]:
    return {
        "name": found.image.name,
        "digest": str(found.top.digest),
        "platforms": [str(each) for each in found.parts.platforms],
        "absent": [str(each) for each in found.parts.absent],
        "blobs": len(found.sizes),
        "bytes": sum(found.sizes.values()),
    }
