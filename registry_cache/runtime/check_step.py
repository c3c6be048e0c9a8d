"""One step of ``registry-cache check``, whatever was tried: the disk, the bucket, an upstream or the other nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StepState = Literal["ok", "warning", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing tried: the result in ``words``; ``remedy``: what to do, "" where nothing is. Holds no secret."""

    name: str
    state: StepState
    words: str
    remedy: str = ""
