"""What ``registry-cache check`` found, as lines for a person and as JSON. Pure: upstream and store do the trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from registry_cache.upkeep.status_text import printable

# The document's; a field may come new without a change of it, none is renamed or removed.
VERSION = 1


class Step(Protocol):
    """One thing tried; ``state`` is ok, warning, skipped or failed, ``remedy`` what to do, "" where nothing is."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def words(self) -> str: ...
    @property
    def remedy(self) -> str: ...


@dataclass(slots=True)
class Subject:
    """What is tried, a "store" or the "upstream" ``name``: ``place`` is its folder or URL, ``steps`` those so far."""

    kind: str
    name: str
    place: str
    steps: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(step.state != "failed" for step in self.steps)


def title(subject: Subject) -> str:
    """Return the line above the steps of one subject."""
    return printable(f"{subject.name} ({subject.place})")


def line(step: Step) -> str:
    """Return the line of one step."""
    remedy = f": {step.remedy}" if step.remedy else ""
    return printable(f"  {step.state:7} {step.name}: {step.words}{remedy}")


def document(subjects: Sequence[Subject]) -> dict[str, object]:
    """Return everything as JSON values; docs/reference.md explains each."""
    return {
        "version": VERSION,
        "ok": all(subject.ok for subject in subjects),
        "store": next((_document(subject) for subject in subjects if subject.kind == "store"), None),
        "upstreams": [_document(subject) for subject in subjects if subject.kind == "upstream"],
    }


def _document(subject: Subject) -> dict[str, object]:
    steps = [
        {"step": step.name, "state": step.state, "message": step.words, "remedy": step.remedy or None}
        for step in subject.steps
    ]
    return {"name": subject.name, "place": subject.place, "ok": subject.ok, "steps": steps}
