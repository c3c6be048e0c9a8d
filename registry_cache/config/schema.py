"""Every key there is, by its path, and the name of its environment variable. Derived from the model's declarations."""

from collections.abc import Iterable

from registry_cache.config import distribution
from registry_cache.config.model import Config, UpstreamConfig
from registry_cache.config.raw import KeyPath
from registry_cache.config.settings import Setting, settings_of

PREFIX = "REGISTRY"
PROXY: KeyPath = ("proxy",)
UPSTREAMS = "upstreams"
ROOT = "storage.filesystem.rootdirectory"

_GLOBAL = tuple(settings_of(Config))
# Each upstream has all of these: the default one under `proxy`, each other one under `upstreams.NAME`.
_UPSTREAM = tuple(settings_of(UpstreamConfig))
# Names that Distribution gave keys before; each is read where the newer one is not given.
RENAMED = {each.older: each for each in _GLOBAL if each.older}


def settings_by_path(upstreams: tuple[str, ...]) -> dict[KeyPath, Setting]:
    """Return every key that is acted upon, for a file that names these upstreams, in the documentation's order."""
    mounts = [PROXY, *((UPSTREAMS, name) for name in upstreams)]
    return {each.at(()): each for each in _GLOBAL} | {each.at(mount): each for mount in mounts for each in _UPSTREAM}


def accepted(upstreams: tuple[str, ...]) -> tuple[KeyPath, ...]:
    """Return every path at which the walk down a file stops."""
    rest = [*distribution.QUIET, *distribution.IGNORED, *RENAMED, *distribution.REFUSED]
    return (*settings_by_path(upstreams), *(tuple(path.split(".")) for path in rest))


def sections(paths: Iterable[KeyPath]) -> set[KeyPath]:
    """Return every path that lies above one of these."""
    return {path[:depth] for path in paths for depth in range(len(path))}


def environment_name(path: KeyPath) -> str:
    """``REGISTRY_`` and the path; what no variable's name may hold becomes ``_``, as in REGISTRY_UPSTREAMS_GHCR_IO_…"""
    return "_".join([PREFIX, *("".join(sign if sign.isalnum() else "_" for sign in part).upper() for part in path)])
