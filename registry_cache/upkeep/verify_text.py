"""What a verify tells: a line a fault and one that sums up, a document for programs, an exit status for cron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from registry_cache.store.audit.fault import Kind
from registry_cache.upkeep.status_text import printable, size
from registry_cache.upkeep.verify import Finding, Result, Task

VERSION = 1

State = Literal["sound", "repaired", "damaged", "stopped", "running"]
# What cron and monitoring see. 1 is also a store that failed, 2 a configuration that is wrong.
EXIT: dict[State, int] = {"sound": 0, "repaired": 0, "running": 0, "damaged": 1, "stopped": 3}


@dataclass(frozen=True, slots=True)
class Report:
    """A pass; ``result`` is None where another one is at it."""

    task: Task
    result: Result | None

    @property
    def state(self) -> State:
        if self.result is None:
            return "running"
        # Damage is the worse news than a pass that was cut short.
        if self.result.left:
            return "damaged"
        if not self.result.complete:
            return "stopped"
        return "repaired" if self.result.repaired else "sound"


def lines(report: Report) -> Iterator[str]:
    """Yield a line for each fault, and the line that sums a pass up."""
    found = report.result
    if found is None:
        yield "another verify is repairing: nothing to do"
        return
    for each in found.findings:
        yield printable(_finding(each))
    if found.found.total() > len(found.findings):
        yield f"and {found.found.total() - len(found.findings)} more faults"
    yield _summary(found, report.task)


def document(report: Report) -> dict[str, object]:
    """Return the report as JSON values; docs/disk.md explains each."""
    found = report.result or Result()
    at = datetime.fromtimestamp(report.task.now, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "version": VERSION,
        "at": at,
        "state": report.state,
        "complete": found.complete,
        "share": str(report.task.share),
        "repair": report.task.repair,
        "files": found.seen.files,
        "bytes": found.seen.bytes,
        "names": found.seen.names,
        "apart": found.seen.apart,
        "incomplete": {"images": found.seen.incomplete, "children": found.seen.missing},
        "found": {kind: found.found[kind] for kind in get_args(Kind)},
        "repaired": found.repaired,
        "faults": [asdict(each) | {"digest": str(each.digest) if each.digest else None} for each in found.findings],
    }


def _finding(each: Finding) -> str:
    outcome = "; repaired" if each.repaired else f"; {each.remark}" if each.remark else ""
    return f"{each.kind}: {each.path}: {each.detail}{outcome}"


def _summary(found: Result, task: Task) -> str:
    seen = found.seen
    share = "" if task.share.parts == task.share.total else f", {task.share} of all"
    parts = [f"re-hashed {seen.files} files, {size(seen.bytes)}{share}"]
    count = found.found.total()
    parts.append(f"{count or 'no'} fault{'' if count == 1 else 's'}")
    if found.repaired:
        parts[-1] += f", {found.repaired} repaired"
    if seen.incomplete:
        parts.append(f"{seen.incomplete} images are here in part, which is no fault")
    if not found.complete:
        parts.append("stopped by --max-time")
    return "; ".join(parts)
