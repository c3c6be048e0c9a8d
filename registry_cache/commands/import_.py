"""``registry-cache import``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from registry_cache.commands.command import Command, add_json_argument
from registry_cache.config import Config, load_config
from registry_cache.errors import RegistryError

if TYPE_CHECKING:
    from registry_cache.upkeep.import_layout import Wanted
    from registry_cache.upkeep.import_text import Kind
    from registry_cache.upkeep.importer import MovingIn, Result

STANDARD_INPUT = "-"


class _Mistaken(Exception):
    """A command line that cannot be."""


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
    """Bring what another registry or an archive has here; safe beside a running server, and to be run again."""
    from registry_cache.upkeep.import_layout import Unnamed
    from registry_cache.upkeep.import_text import Report, document, lines

    # What the modules would log is what the report says.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    config = load_config(environ, create=not arguments.dry_run)
    began = time.monotonic()
    try:
        kind, result, complete = _import(config, arguments)
    except (_Mistaken, Unnamed) as error:
        print(f"registry-cache: {error}", file=sys.stderr)
        return 2
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    report = Report(kind, arguments.source, result, time.monotonic() - began, arguments.dry_run, complete)
    if arguments.json:
        print(json.dumps(document(report), indent=2))
    else:
        print("\n".join(lines(report)), file=sys.stdout if report.ok else sys.stderr)
    return 0 if report.ok else 1 if complete else 3


def _import(config: Config, arguments: argparse.Namespace) -> tuple[Kind, Result, bool]:
    """Return what the source is, what came of it, and whether it came to its end. Raises RegistryError, Unnamed."""
    from registry_cache.commands.bar import Bar
    from registry_cache.wiring import destination, moving_in

    kind = _kind(arguments)
    try:
        wanted = destination(config, arguments.upstream, arguments.as_)
    except RegistryError as error:
        raise _Mistaken(error.message) from error
    with Bar(arguments.source, shown=not arguments.json) as bar:
        moving = moving_in(config, may_link=not arguments.copy, rehearses=arguments.dry_run, progress=bar)
        try:
            _run(kind, arguments.source, moving, wanted)
        except KeyboardInterrupt:
            return kind, moving.result, False
    return kind, moving.result, True


def _kind(arguments: argparse.Namespace) -> Kind:
    """Return what the source is. Raises _Mistaken for nothing that can be imported."""
    from registry_cache.store.interchange.distribution import DistributionFolder
    from registry_cache.store.interchange.layout_source import LayoutFolder

    path = Path(arguments.source)
    if arguments.source == STANDARD_INPUT or (path.exists() and not path.is_dir()):
        return "archive"
    if DistributionFolder.find(path):
        if arguments.as_:
            raise _Mistaken("--as is for OCI image layouts: the repositories of a registry's folder have names")
        return "distribution"
    if LayoutFolder.is_at(path):
        return "layout"
    if not path.exists():
        raise _Mistaken(f"{path} does not exist")
    raise _Mistaken(
        f"{path} is neither a storage folder of registry:2 or registry:3 (with docker/registry/v2 in it), "
        "nor an OCI image layout (with index.json in it)"
    )


def _run(kind: Kind, place: str, moving: MovingIn, wanted: Wanted) -> None:
    from registry_cache.store.interchange.distribution import DistributionFolder
    from registry_cache.store.interchange.layout_source import LayoutArchive, LayoutFolder, reading_source
    from registry_cache.upkeep.import_distribution import import_distribution
    from registry_cache.upkeep.import_layout import import_layout

    now, path, problem = datetime.now(UTC), Path(place), moving.result.problem
    if kind == "layout":
        import_layout(moving, LayoutFolder(path), wanted, now)
    elif place == STANDARD_INPUT:
        import_layout(moving, LayoutArchive(sys.stdin.buffer, "standard input", problem), wanted, now)
    elif kind == "archive":
        with reading_source(place), path.open("rb") as file:
            import_layout(moving, LayoutArchive(file, place, problem), wanted, now)
    elif found := DistributionFolder.find(path, problem):
        import_distribution(moving, found, place, wanted.upstream)


COMMAND = Command("import", "take over what another registry or an archive has", run, add_arguments)
