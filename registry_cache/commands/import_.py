"""``registry-cache import``"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from registry_cache.commands.command import CommandError, add_json_argument, print_report, silence_log
from registry_cache.commands.progress import ProgressBar
from registry_cache.commands.start import become_owner, start
from registry_cache.config import Config
from registry_cache.errors import RegistryError
from registry_cache.oci.image_layout import split_wanted
from registry_cache.oci.names import FullName
from registry_cache.runtime.users import name_of_user
from registry_cache.store.interchange.distribution import DistributionFolder
from registry_cache.store.interchange.layout_source import LayoutArchive, LayoutFolder, reading_source
from registry_cache.store.layout import Layout
from registry_cache.upkeep.import_archive import ImportNames, UnknownDestination, import_layout
from registry_cache.upkeep.import_distribution import import_distribution
from registry_cache.upkeep.import_session import ImportResult, ImportSession
from registry_cache.upkeep.import_text import ImportReport, SourceKind
from registry_cache.wiring.storage import bounds
from registry_cache.wiring.upstreams import upstreams

STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "source",
        metavar="DIR",
        help="a storage folder of registry:2 or registry:3, an OCI image layout, or a tar of one; - is standard input",
    )
    parser.add_argument("--upstream", metavar="NAME", help="whose repositories these are, where names do not tell")
    parser.add_argument("--as", dest="as_", metavar="REPOSITORY[:TAG]", help="what a layout's images are called here")
    parser.add_argument("--copy", action="store_true", help="never share files with the source by hard links")
    parser.add_argument("--dry-run", action="store_true", help="say what would come, and change nothing")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Import what another registry or an archive has; safe beside a running server, and to be run again."""
    silence_log()
    config = start(arguments, environ, create=not arguments.dry_run)
    began, kind = time.monotonic(), _kind(arguments)
    try:
        names = _names(config, arguments.upstream, arguments.as_)
    except RegistryError as error:
        raise CommandError(error.message) from error
    # Opened before we become the store's owner, who may not look into root's folders.
    with _open_archive(arguments.source) if kind == "archive" else contextlib.nullcontext() as archive:
        become_owner(config.root)
        if not archive and not os.access(arguments.source, os.R_OK | os.X_OK):
            raise CommandError(f"user {name_of_user()}, who owns the store, may not read {arguments.source}", 1)
        try:
            result, complete = _import(config, kind, archive, names, arguments)
        except UnknownDestination as error:
            raise CommandError(str(error)) from error
    seconds = time.monotonic() - began
    report = ImportReport(kind, arguments.source, result, seconds, arguments.dry_run, complete)
    return print_report(report, as_json=arguments.json)


def _import(
    config: Config, kind: SourceKind, archive: BinaryIO | None, names: ImportNames, arguments: argparse.Namespace
) -> tuple[ImportResult, bool]:
    """Return what was imported, and whether the import came to its end. Raises RegistryError, UnknownDestination."""
    with ProgressBar(arguments.source, shown=not arguments.json) as bar:
        session = ImportSession.open(
            config.root,
            bounds(config, Layout(config.root)),
            may_link=not arguments.copy,
            dry_run=arguments.dry_run,
            progress=bar,
        )
        try:
            _run(kind, arguments.source, archive, session, names)
        except KeyboardInterrupt:
            return session.result, False
    return session.result, True


def _open_archive(place: str) -> BinaryIO:
    """Return what to read the archive from, which is the caller's to close. Raises StoreError."""
    if place == STANDARD_INPUT:
        return sys.stdin.buffer
    with reading_source(place):
        return open(place, "rb")


def _names(config: Config, upstream: str | None, wanted: str | None) -> ImportNames:
    """Return where the operator wants things: at ``upstream``, None for the default one, or as ``wanted``.

    Raises NameUnknown, NameInvalid, ManifestUnknown for a name that nobody could pull from.
    """
    known = upstreams(config)
    default = known.named(upstream or config.default_upstream.name).upstream.name

    def find(path: str) -> FullName:
        first, slash, _ = path.partition("/")
        # A whole name in an archive names its registry, and the default upstream must not take its place.
        whole = slash and ("." in first or ":" in first or first == "localhost")
        target = known.target(path, {}) if whole and known.named(first) else known.target(path, {"ns": default})
        return target.name

    path, tag = split_wanted(wanted) if wanted else ("", None)
    return ImportNames(default, find, find(path) if path else None, tag)


def _kind(arguments: argparse.Namespace) -> SourceKind:
    """Return what the source is. Raises CommandError for nothing that can be imported."""
    path = Path(arguments.source)
    if arguments.source == STANDARD_INPUT or (path.exists() and not path.is_dir()):
        return "archive"
    if DistributionFolder.find(path):
        if arguments.as_:
            raise CommandError("--as is for OCI image layouts: the repositories of a registry's folder have names")
        return "distribution"
    if LayoutFolder.is_at(path):
        return "layout"
    if not path.exists():
        raise CommandError(f"{path} does not exist")
    raise CommandError(
        f"{path} is neither a storage folder of registry:2 or registry:3 (with docker/registry/v2 in it), "
        "nor an OCI image layout (with index.json in it)"
    )


def _run(kind: SourceKind, place: str, archive: BinaryIO | None, session: ImportSession, names: ImportNames) -> None:
    now, path, problem = datetime.now(UTC), Path(place), session.result.problem
    if kind == "layout":
        import_layout(session, LayoutFolder(path), names, now)
    elif archive:
        name = "standard input" if place == STANDARD_INPUT else place
        import_layout(session, LayoutArchive(archive, name, problem, session.room.unpacked), names, now)
    elif found := DistributionFolder.find(path, problem):
        import_distribution(session, found, place, names.upstream)
