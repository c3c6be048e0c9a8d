"""``registry-cache warm``"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from registry_cache.commands.command import add_json_argument, print_report, silence_log
from registry_cache.commands.images import (
    add_image_arguments,
    image_finder,
    listed_images,
    make_warm,
    print_line,
    wanted_platforms,
)
from registry_cache.commands.progress import ProgressBar
from registry_cache.commands.rules import warn_of_other_upstreams
from registry_cache.commands.start import become_owner, start
from registry_cache.errors import RegistryError
from registry_cache.oci.platform import this_machine
from registry_cache.pull.images.warm import Warmed
from registry_cache.upkeep.report import counted, size
from registry_cache.wiring.statistics import command_recorder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    add_image_arguments(parser, "a platform to fetch, or all; repeat it for several (default: this machine's)")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Pull images into the cache, one after the other; safe beside a running server, and never a second download."""
    silence_log()
    listed, wanted = listed_images(arguments), wanted_platforms(arguments)
    config = start(arguments, environ, create=True, asks_upstream=True)
    report = WarmReport(len(listed), prints_lines=not arguments.json)
    try:
        become_owner(config.root)
        warn_of_other_upstreams(config)
        find_image, warm = image_finder(config), make_warm(config)
        with command_recorder(config):
            for name in listed:
                began = time.monotonic()
                try:
                    with ProgressBar(name, shown=not arguments.json) as bar:
                        done = warm.image(find_image(name), [this_machine()] if wanted is None else wanted, bar)
                    report.add(done, time.monotonic() - began)
                except RegistryError as error:
                    report.add_failure(name, error)
    except KeyboardInterrupt:
        report.interrupted = True
    return print_report(report, as_json=arguments.json, file=sys.stderr)


class WarmReport:
    """A line for each image as it ends; what is left to say in the end are its ``lines``."""

    def __init__(self, listed: int, *, prints_lines: bool) -> None:
        self.interrupted = False
        self._listed = listed
        self._prints_lines = prints_lines
        self._images: list[dict[str, Any]] = []

    def add(self, done: Warmed, seconds: float) -> None:
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
        if self._prints_lines:
            name = " ".join([done.name, *map(str, done.platforms)])
            joined = f", {done.joined} with others" if done.joined else ""
            fetched = f"{done.fetched} of {counted(done.blobs, 'blob')} fetched{joined}"
            counts = f"{fetched}, {size(done.bytes)}, {seconds:.0f} s"
            stale = f"; the tag may have moved: {done.stale}" if done.stale else ""
            print_line(f"warmed {name}: {counts}{stale}", file=sys.stdout)

    def add_failure(self, name: str, error: RegistryError) -> None:
        self._images.append({"name": name, "state": "failed", "error": error.message})
        if self._prints_lines:
            print_line(f"failed {name}: {error.message}", file=sys.stderr)

    @property
    def exit_status(self) -> int:
        return 3 if self.interrupted else 1 if self._failures() else 0

    def lines(self) -> Iterator[str]:
        if self.interrupted or self._listed > 1:
            stopped = "; stopped: the next pull goes on where this one was" if self.interrupted else ""
            images = counted(self._listed, "image is", "images are")
            yield f"{len(self._images) - self._failures()} of {images} here{stopped}"

    def document(self) -> dict[str, object]:
        return {"complete": not self.interrupted, "images": self._images}

    def _failures(self) -> int:
        return sum(each["state"] == "failed" for each in self._images)
