"""What ``registry-cache check`` found: a line a step, and a JSON document. Pure: upstream and store do the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from registry_cache.runtime.check_step import Step


@dataclass(slots=True)
class CheckSubject:
    """A store, a bucket, an upstream or the other nodes: ``place`` is its folder or URL, ``steps`` what was tried."""

    kind: Literal["store", "bucket", "upstream", "cluster"]
    name: str
    place: str
    steps: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(step.state != "failed" for step in self.steps)

    def document(self) -> dict[str, object]:
        steps = [
            {"step": step.name, "state": step.state, "message": step.words, "remedy": step.remedy or None}
            for step in self.steps
        ]
        return {"name": self.name, "place": self.place, "ok": self.ok, "steps": steps}


def line(step: Step) -> str:
    """Return the line of one step."""
    remedy = f": {step.remedy}" if step.remedy else ""
    return f"  {step.state:7} {step.name}: {step.words}{remedy}"


@dataclass(slots=True)
class CheckReport:
    """All subjects, whose lines are printed as the steps end; ``warnings`` about the configuration are left to say."""

    warnings: list[str] = field(default_factory=list)
    subjects: list[CheckSubject] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        return 0 if all(subject.ok for subject in self.subjects) else 1

    def lines(self) -> Iterator[str]:
        if self.warnings:
            yield "configuration"
        yield from (f"  warning {warning}" for warning in self.warnings)

    def document(self) -> dict[str, object]:
        stores = [subject.document() for subject in self.subjects if subject.kind == "store"]
        return {
            "ok": self.exit_status == 0,
            "warnings": self.warnings,
            "store": stores[0] if stores else None,
            "cluster": next((each.document() for each in self.subjects if each.kind == "cluster"), None),
            "bucket": next((each.document() for each in self.subjects if each.kind == "bucket"), None),
            "upstreams": [subject.document() for subject in self.subjects if subject.kind == "upstream"],
        }
