"""``registry-cache warm``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from registry_cache.commands.command import Command, add_json_argument, become_owner
from registry_cache.commands.images import add_image_arguments, names, platforms, say
from registry_cache.config import load_config
from registry_cache.errors import RegistryError
from registry_cache.oci.platform import this_machine

if TYPE_CHECKING:
    from registry_cache.pull.images.warm import Warmed

VERSION = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    add_image_arguments(parser, "a platform to fetch, or all; repeat it for several (default: this machine's)")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Bring images here, one after the other; safe beside a running server, and never a second download."""
    from registry_cache.commands.bar import Bar
    from registry_cache.wiring import images_by_name, warming

    # What the modules would log is what the lines say.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    try:
        listed, wanted = names(arguments), platforms(arguments)
    except ValueError as error:
        print(f"registry-cache: {error}", file=sys.stderr)
        return 2
    config, report = load_config(environ), _Report(arguments.json)
    try:
        become_owner(config.root)
        image, warm = images_by_name(config), warming(config)
        for name in listed:
            began = time.monotonic()
            try:
                with Bar(name, shown=not arguments.json) as bar:
                    done = warm.image(image(name), [this_machine()] if wanted is None else wanted, bar)
                report.warmed(done, time.monotonic() - began)
            except RegistryError as error:
                report.failed(name, error)
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return report.end(len(listed), interrupted=True)
    return report.end(len(listed))


class _Report:
    """A line for each image as it ends, or one document at the end."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._images: list[dict[str, Any]] = []

    def warmed(self, done: Warmed, seconds: float) -> None:
        from registry_cache.upkeep.status_text import size

        self._images.append(
            {
                "name": done.name,
                "state": "stale" if done.stale else "warmed",
                "digest": str(done.digest),
                "platforms": [str(each) for each in done.platforms],
                "blobs": {"all": done.blobs, "fetched": done.fetched, "joined": done.joined},
                "bytes": done.bytes,
                "seconds": round(seconds, 3),
                "error": done.stale,
            }
        )
        if not self._json:
            name = " ".join([done.name, *map(str, done.platforms)])
            joined = f", {done.joined} with others" if done.joined else ""
            counted = f"{done.fetched} of {done.blobs} blobs fetched{joined}, {size(done.bytes)}, {seconds:.0f} s"
            stale = f"; the tag may have moved: {done.stale}" if done.stale else ""
            say(f"warmed {name}: {counted}{stale}", file=sys.stdout)

    def failed(self, name: str, error: RegistryError) -> None:
        self._images.append({"name": name, "state": "failed", "error": error.message})
        if not self._json:
            say(f"failed {name}: {error.message}", file=sys.stderr)

    def end(self, listed: int, *, interrupted: bool = False) -> int:
        """Print what is left to print and return the exit status."""
        failed = sum(each["state"] == "failed" for each in self._images)
        if self._json:
            print(json.dumps({"version": VERSION, "complete": not interrupted, "images": self._images}, indent=2))
        elif interrupted or listed > 1:
            stopped = "; stopped: the next pull goes on where this one was" if interrupted else ""
            print(f"{len(self._images) - failed} of {listed} images are here{stopped}", file=sys.stderr)
        return 3 if interrupted else 1 if failed else 0


COMMAND = Command("warm", "pull images ahead, before anybody asks for them", run, add_arguments)
