"""How a command starts: it loads the configuration, says which one and which store, and becomes the store's owner."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from registry_cache.config import Config, load_config
from registry_cache.config.store_folder import READ_ONLY, READ_ONLY_REMEDY
from registry_cache.errors import StoreError
from registry_cache.runtime.users import name_of_user
from registry_cache.upkeep.report import printable


def start(
    arguments: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    create: bool = False,
    asks_upstream: bool = False,
    file: TextIO | None = None,
) -> Config:
    """Load the configuration and say which one it is, in a line on ``file`` or else standard output.

    ``--json`` prints nothing beside its document. A verb that ``asks_upstream`` needs the accounts' passwords, the
    others do not. For ``create`` see load_config. Raises ConfigError.
    """
    config = load_config(environ, create=create, needs_passwords=asks_upstream)
    if not getattr(arguments, "json", False):
        print(printable(heading(config)), file=file or sys.stdout, flush=True)
    return config


def as_server_reads_it(config: Config, environ: Mapping[str, str]) -> Config:
    """As root, return the configuration as the store's owner loads it: what root may read, the server may not.

    Raises ConfigError. Where root may become nobody else, nobody can tell.
    """
    with contextlib.suppress(StoreError), as_owner(config.root):
        # Where nothing names a store, it is another one for root than for its owner.
        return replace(load_config(environ, create=False), root=config.root)
    return config


def heading(config: Config) -> str:
    """Return the line that says which configuration and which store a command works with."""
    return f"configuration: {config.configured_by}; store: {config.root}"


def become_owner(root: Path) -> None:
    """As root, continue as the user who owns the store in ``root``: that user must be able to change what we write.

    Raises StoreError where we may not, or where whoever we are may not write there.
    """
    if owner := _owner(root):
        _become(root, owner)
    _check_right(root, os.W_OK, "write in")


def become_owner_if_allowed(root: Path) -> None:
    """As ``become_owner``, for a verb that only reads: where root may become nobody else, it may still read."""
    with contextlib.suppress(StoreError):
        if owner := _owner(root):
            _become(root, owner)
    _check_right(root, os.R_OK, "read")


def _check_right(root: Path, right: int, words: str) -> None:
    """Raise StoreError where whoever we are may not do it; where nothing is, whoever opens it says so."""
    found = _stat(root)
    if found is None or os.access(root, right | os.X_OK, effective_ids=True):
        return
    if right == os.W_OK and os.statvfs(root).f_flag & os.ST_RDONLY:
        raise StoreError(f"nobody may write in {root}: {READ_ONLY}: {READ_ONLY_REMEDY}")
    remedy = f"run this as root, or as user {name_of_user(found.st_uid)}, who owns it"
    if found.st_uid == os.geteuid():
        remedy = f"its own mode forbids it: chmod u+rwx {root}"
    raise StoreError(f"user {name_of_user()} may not {words} {root}: {remedy}")


def _stat(root: Path) -> os.stat_result | None:
    """Return what the disk says of the folder; None where there is none. Raises StoreError where we may not ask."""
    try:
        return root.stat()
    except PermissionError as error:
        raise StoreError(
            f"user {name_of_user()} may not enter a folder above {root}: run this as root, or as the server's user"
        ) from error
    except OSError:
        return None


def _become(root: Path, owner: os.stat_result) -> None:
    with _refusals(root, owner):
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    # A credential helper looks for its files at home, and may not look at root's.
    with contextlib.suppress(KeyError):
        os.environ["HOME"] = pwd.getpwuid(owner.st_uid).pw_dir


@contextlib.contextmanager
def as_owner(root: Path) -> Iterator[None]:
    """As root, be the store's owner inside, and root again afterwards, who may write where the owner may not.

    Raises StoreError where we may not, or where whoever we are may not read the store.
    """
    owner = _owner(root)
    if owner is None:
        _check_right(root, os.R_OK, "read")
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    with _refusals(root, owner):
        os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _owner(root: Path) -> os.stat_result | None:
    """Return what stat says of ``root``, if we are root and it is somebody else's; else None."""
    found = _stat(root) if os.geteuid() == 0 else None
    return found if found is not None and found.st_uid != 0 else None


@contextlib.contextmanager
def _refusals(root: Path, owner: os.stat_result) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        told = f"the store in {root} belongs to user {name_of_user(owner.st_uid)}, whom we may not become"
        raise StoreError(f"{told}: run this as that user") from error
