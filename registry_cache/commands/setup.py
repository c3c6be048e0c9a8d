"""``registry-cache setup``"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlsplit

from registry_cache.commands.command import CommandError, add_json_argument, print_report
from registry_cache.commands.start import start
from registry_cache.config import values
from registry_cache.config.problems import InvalidValue
from registry_cache.config.raw import Scalar
from registry_cache.deployment.client_setup import CLIENTS, SetupStep, steps
from registry_cache.upkeep.report import Report, printable
from registry_cache.wiring.page import mirror


@dataclass(frozen=True, slots=True)
class SetupReport(Report):
    """What to do for a ``client`` of the cache at ``url``."""

    client: str
    url: str
    steps: Sequence[SetupStep]

    def lines(self) -> Iterator[str]:
        for number, step in enumerate(self.steps):
            if number:
                yield ""
            yield f"# {step.title}{f': {step.file}' if step.file else ''}"
            yield from step.text.splitlines()
            if step.then:
                yield f"# then: {step.then}"

    def document(self) -> dict[str, object]:
        """docs/reference.md explains each value."""
        return {"client": self.client, "url": self.url, "steps": [asdict(step) for step in self.steps]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument("client", choices=CLIENTS, metavar="CLIENT", help=", ".join(CLIENTS))
    parser.add_argument("--url", type=_url, help="by which the client reaches this cache; default: http.host")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print what sets up a client; asks nobody, and writes nothing."""
    config = start(arguments, environ)
    found = mirror(config)
    if arguments.url:
        found = replace(found, url=arguments.url)
    elif config.http.url is None and config.http.socket is not None:
        raise CommandError(
            "clients reach this cache through nginx: give its URL with --url, or permanently with http.host"
        )
    elif config.http.url is None:
        told = f"{found.url} is a guess from http.addr: give the URL that clients know with --url, or with http.host"
        print(printable(f"registry-cache: {told}"), file=sys.stderr)
    report = SetupReport(arguments.client, found.url, steps(arguments.client, found))
    return print_report(report, as_json=arguments.json)


def _url(text: str) -> str:
    try:
        url = values.remote(Scalar(text)).url
        if urlsplit(url).path:
            raise InvalidValue(
                "has a path, and clients name a registry by its host alone", "end the URL after the host"
            )
        return url
    except InvalidValue as error:
        raise argparse.ArgumentTypeError(f"{error.what}: {error.remedy}") from None
