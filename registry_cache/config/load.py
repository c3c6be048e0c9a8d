"""From a file's name and an environment to a Config, or to everything that is wrong with it."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from registry_cache.config import schema
from registry_cache.config.build import build
from registry_cache.config.environment import FILE_VARIABLES, apply_environment
from registry_cache.config.found import Found, Walk
from registry_cache.config.model import Config
from registry_cache.config.problems import ConfigError, Report
from registry_cache.config.raw import Document, Raw, Scalar, parse_yaml

DEFAULTS = "built-in defaults"
# A configuration is a page; a name that leads to a disk image must not be read into memory.
LARGEST_FILE = 1024 * 1024


def load_config(environ: Mapping[str, str] = os.environ, *, create: bool = True) -> Config:
    """The configuration in force: environment before file before default.

    ``create`` makes the storage folder where it is missing; without it the folder is only looked at. Raises
    ConfigError, which holds every problem and not only the first.
    """
    report = Report()
    source, document = _document(environ, report)
    tree = schema.short_form(document.tree)
    names = _upstream_names(tree)
    overrides = apply_environment(tree, environ, names, report)
    found = Found(source, report, document.lines, overrides.origins, names)
    Walk(found).run(overrides.tree)
    config = build(found, environ, overrides.warnings)
    # Commands that only read need no right to write.
    if create and found.well(schema.ROOT):
        _check_root(found, config.root, create=not report.problems)
    if report.problems:
        raise ConfigError(source, report.problems)
    return config


def _document(environ: Mapping[str, str], report: Report) -> tuple[str, Document]:
    """The file's name and content. Where it cannot be read, nothing below would be the operator's: it ends here."""
    variable = next((name for name in FILE_VARIABLES if environ.get(name)), None)
    if variable is None:
        return DEFAULTS, Document({})
    source = environ[variable]
    document = None
    if (text := _text(source, variable, report)) is not None:
        document = parse_yaml(text, source, report)
    if document is not None and not isinstance(document.tree, dict):
        empty = document.tree in (None, Scalar(""))
        report.add(source, "is empty" if empty else "is no mapping of keys", "begin it with version: 0.1")
    if document is None or report.problems:
        raise ConfigError(source, report.problems)
    return source, document


def _text(source: str, variable: str, report: Report) -> str | None:
    try:
        with open(source, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) <= LARGEST_FILE:
            return content.decode()
        report.add(variable, f"{source} is larger than 1 MiB", "name a configuration file")
    except UnicodeDecodeError:
        report.add(variable, f"{source} is not UTF-8 text", "save it as UTF-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        report.add(variable, f"cannot read {source}: {reason}", "name a file that this user may read")
    return None


def _upstream_names(tree: Raw) -> tuple[str, ...]:
    upstreams = tree.get(schema.UPSTREAMS) if isinstance(tree, dict) else None
    return tuple(upstreams) if isinstance(upstreams, dict) else ()


def _check_root(found: Found, root: Path, *, create: bool) -> None:
    """A folder that cannot be written is found now, and not by the first client."""
    try:
        if create:
            root.mkdir(parents=True, exist_ok=True)
        if root.exists():
            # An access check would say yes to root on a read-only mount; this leaves nothing behind.
            with tempfile.TemporaryFile(dir=root):
                return
        parent = next(folder for folder in root.parents if folder.exists())
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return
        reason = f"{parent} is not a folder that this user may write in"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
    found.wrong(
        schema.ROOT.at(()),
        f"cannot store under {root}: {reason}",
        f"name a folder that user {os.geteuid()} may write in, or give it that one",
    )
