"""The values of a check: what is tried, and what came of one step of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

# Whatever is wrong with an upstream that is not ours to mend.
WAIT = "wait for it; what is cached is served meanwhile"


State = Literal["ok", "warning", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing tried: what came of it in ``words``, what to do in ``remedy``. Holds no secret."""

    name: str
    state: State
    words: str
    remedy: str = ""


class Failed(Exception):
    """Ends the steps that need the one that failed."""

    def __init__(self, name: str, words: str, remedy: str = "", state: State = "failed") -> None:
        super().__init__(words)
        self.step = Step(name, state, words, remedy)


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream as the configuration has it. ``keys``: where in it, such as ``proxy`` or ``upstreams.ghcr.io``.

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
