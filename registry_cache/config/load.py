"""Load the configuration: from a file's name and the environment to a Config, or to a list of all that is wrong."""

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from registry_cache.config import schema
from registry_cache.config.build import build
from registry_cache.config.distribution import expand_short_forms
from registry_cache.config.environment import FILE_VARIABLES, apply_environment
from registry_cache.config.given import Given
from registry_cache.config.model import Config
from registry_cache.config.problems import ConfigError, InvalidValue, Problem
from registry_cache.config.raw import Document, Raw, Scalar, parse_yaml
from registry_cache.config.readable import cannot_read
from registry_cache.config.schema import ROOT
from registry_cache.config.start_warnings import start_warnings
from registry_cache.config.store_folder import check_store_folder
from registry_cache.config.walk import KeyWalk

DEFAULTS = "built-in defaults"
# Read where neither the command line nor the environment names a file: a command typed by hand must have the server's.
DEFAULT_FILE = "/etc/registry-cache/config.yml"
# A configuration is a page of text; a name that leads to a disk image must not be read into memory.
LARGEST_FILE = 1024 * 1024


def load_config(
    environ: Mapping[str, str] = os.environ, *, create: bool = True, needs_passwords: bool = True
) -> Config:
    """Return the configuration in force: environment before file before default.

    ``create`` makes the storage folder where it is missing; without it the folder is only looked at. Whoever asks no
    upstream ``needs_passwords`` not: one that is kept elsewhere, and cannot be had here, is then None. Raises
    ConfigError, which holds every problem and not only the first.
    """
    problems: list[Problem] = []
    source, document = _document(environ, problems)
    tree = expand_short_forms(document.tree)
    upstreams = _upstream_names(tree)
    overrides = apply_environment(tree, environ, upstreams, problems)
    settings = schema.settings_by_path(upstreams)
    given = Given(source, settings, problems, document.lines, overrides.origins, needs_passwords=needs_passwords)
    KeyWalk(given, upstreams).run(overrides.tree)
    config = build(given, upstreams, environ, overrides.warnings)
    warnings = start_warnings(config, environ, datetime.now(UTC), needs_helpers=needs_passwords)
    config = replace(config, warnings=(*config.warnings, *warnings))
    # Commands that only read need no right to write.
    if create and given.valid(ROOT):
        check_store_folder(given, config.root, create=not problems)
    if problems:
        raise ConfigError(source, problems, config.log.formatter)
    return config


def _document(environ: Mapping[str, str], problems: list[Problem]) -> tuple[str, Document]:
    """Return the file's name and content. Raises ConfigError at once: without the file nothing below makes sense."""
    variable = next((name for name in FILE_VARIABLES if environ.get(name)), None)
    if variable is None and not _reads_default_file(environ):
        return DEFAULTS, Document({})
    source = environ[variable] if variable else DEFAULT_FILE
    document = None
    try:
        document = parse_yaml(_text(source), source, problems)
    except InvalidValue as error:
        problems.append(Problem(variable or source, error.what, error.remedy))
    if document is not None and not isinstance(document.tree, dict):
        empty = document.tree in (None, Scalar(""))
        problems.append(
            Problem(source, "is empty" if empty else "is not a mapping of keys", "begin it with version: 0.1")
        )
    if document is None or problems:
        raise ConfigError(source, problems, "json" if environ.get("REGISTRY_LOG_FORMATTER") == "json" else "text")
    return source, document


def _reads_default_file(environ: Mapping[str, str]) -> bool:
    """Whether to read the default file: it exists, readable or not, and no variable is set, not even to nothing."""
    if any(name in environ for name in FILE_VARIABLES):
        return False
    try:
        os.stat(DEFAULT_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # It may be there. Built-in defaults in its place could evict what the file keeps.
        return True
    return True


def _text(source: str) -> str:
    """Return the text of the configuration file. Raises InvalidValue."""
    try:
        with open(source, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise InvalidValue(f"{source} is larger than 1 MiB", "name a configuration file")
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"{source} is not UTF-8 text", "save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise cannot_read(source, error) from None


def _upstream_names(tree: Raw) -> tuple[str, ...]:
    upstreams = tree.get(schema.UPSTREAMS) if isinstance(tree, dict) else None
    return tuple(upstreams) if isinstance(upstreams, dict) else ()
