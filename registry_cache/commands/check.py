"""``registry-cache check``"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping

from registry_cache.commands.command import Command, add_json_argument
from registry_cache.config import load_config
from registry_cache.errors import RegistryError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json_argument(parser)
    parser.add_argument(
        "references", nargs="*", metavar="REFERENCE", help="an image to ask for, such as ghcr.io/owner/app:1"
    )


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Try the configuration against the store's disk and the real upstreams; costs no counted pull."""
    from registry_cache.upkeep import check_text
    from registry_cache.wiring import checks

    # What the modules would log is what the steps say.
    logging.getLogger("registry_cache").addHandler(logging.NullHandler())
    try:
        planned = checks(load_config(environ, create=False), arguments.references)
    except RegistryError as error:
        print(f"registry-cache: {error.message}", file=sys.stderr)
        return 2
    subjects = []
    for each in planned:
        subject = check_text.Subject(each.kind, each.name, each.place)
        subjects.append(subject)
        if not arguments.json:
            print(check_text.title(subject))
        for step in each.steps:
            subject.steps.append(step)
            if not arguments.json:
                print(check_text.line(step), flush=True)
    if arguments.json:
        print(json.dumps(check_text.document(subjects), indent=2))
    return 0 if all(subject.ok for subject in subjects) else 1


COMMAND = Command("check", "try store and upstreams, and say what is wrong and what to do", run, add_arguments)
