"""What a check tries, and the result of one step of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from registry_cache.runtime.check_step import Step, StepState

# The remedy where an upstream is at fault and not the cache.
WAIT = "wait for it; what is cached is served meanwhile"


class StepFailed(Exception):
    """Ends the steps that need the one that failed."""

    def __init__(self, name: str, words: str, remedy: str = "", state: StepState = "failed") -> None:
        super().__init__(words)
        self.step = Step(name, state, words, remedy)


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """An upstream as configured. ``keys``: where in the configuration, such as ``proxy`` or ``upstreams.ghcr.io``.

    ``proxy``: the URL of a proxy that leads there; never shown. ``account``: credentials are configured.
    """

    name: str
    url: str
    keys: str
    proxy: str | None = field(default=None, repr=False)
    account: bool = False
    ca: str | None = None
    insecure: bool = False
    realms: Sequence[str] = ()

    def key(self, name: str) -> str:
        """Return the configuration's key ``name`` of this upstream."""
        return f"{self.keys}.{name}"
