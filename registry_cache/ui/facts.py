"""What the pages are made from. ``wiring`` builds it; nothing here knows where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from registry_cache.deployment.client_setup import Mirror
from registry_cache.stats.statistics import Statistics
from registry_cache.ui.nodes import ClusterFacts
from registry_cache.upkeep.live_status import Glance
from registry_cache.upkeep.repository_details import RepositoryDetails
from registry_cache.upkeep.survey import Surveyor


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the configuration in force; a secret's ``value`` is masked."""

    path: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """What the operator allows the store: bytes, None for no bound."""

    max_size: int | None
    min_free: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """``glance`` is asked for what is going on, at most once a second. The rest does not change while we serve.

    ``repository`` tells of one, by its name, and ``tags`` some of its tags; both raise StoreError. ``has_journal``: who
    pulled what is kept. ``is_address_known``: an operator has said by which URL clients reach ``mirror``; otherwise it
    is a guess.
    """

    version: str
    glance: Callable[[], Glance]
    statistics: Statistics
    surveyor: Surveyor
    repository: Callable[[str], RepositoryDetails | None]
    tags: Callable[[str, int], Sequence[str]]
    has_journal: bool
    limits: SizeLimits
    mirror: Mirror
    is_address_known: bool
    configuration: Sequence[Key]
    cluster: ClusterFacts | None
