"""What a verify reports: a line for each fault and a summary, a document for programs, an exit status for cron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from registry_cache.store.audit.fault import Kind
from registry_cache.upkeep.report import counted, iso, size
from registry_cache.upkeep.verify import FoundFault, VerifyResult, VerifyTask

State = Literal["sound", "repaired", "damaged", "stopped", "running"]
_EXIT_STATUS: dict[State, int] = {"sound": 0, "repaired": 0, "running": 0, "damaged": 1, "stopped": 3}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """A verify; ``result`` is None where another one is repairing."""

    task: VerifyTask
    result: VerifyResult | None

    @property
    def state(self) -> State:
        if self.result is None:
            return "running"
        # Damage is worse news than a pass that was stopped.
        if self.result.left:
            return "damaged"
        if not self.result.complete:
            return "stopped"
        return "repaired" if self.result.repaired else "sound"

    @property
    def exit_status(self) -> int:
        return _EXIT_STATUS[self.state]

    def lines(self) -> Iterator[str]:
        """Yield a line for each fault, and the line that sums up."""
        result = self.result
        if result is None:
            yield "another verify is repairing: nothing to do"
            return
        yield from map(_line, result.faults)
        if result.counts.total() > len(result.faults):
            yield f"and {counted(result.counts.total() - len(result.faults), 'more fault')}"
        yield "; ".join(self._summary(result))

    def document(self) -> dict[str, object]:
        """docs/disk.md explains each value."""
        result = self.result or VerifyResult()
        return {
            "at": iso(self.task.now),
            "state": self.state,
            "complete": result.complete,
            "share": str(self.task.share),
            "repair": self.task.repair,
            "files": result.seen.files,
            "bytes": result.seen.bytes,
            "names": result.seen.names,
            "apart": result.seen.apart,
            "incomplete": {"images": result.seen.incomplete, "children": result.seen.missing},
            "found": {kind: result.counts[kind] for kind in get_args(Kind)},
            "repaired": result.repaired,
            "faults": [asdict(each) | {"digest": str(each.digest) if each.digest else None} for each in result.faults],
        }

    def _summary(self, result: VerifyResult) -> Iterator[str]:
        share = "" if self.task.share.parts == self.task.share.total else f", {self.task.share} of all"
        yield f"re-hashed {counted(result.seen.files, 'file')}, {size(result.seen.bytes)}{share}"
        count = result.counts.total()
        repaired = f", {result.repaired} repaired" if result.repaired else ""
        yield f"{count or 'no'} fault{'' if count == 1 else 's'}{repaired}"
        if result.seen.incomplete:
            images = counted(result.seen.incomplete, "image is", "images are")
            yield f"{images} here in part, which is no fault"
        if not result.complete:
            yield "stopped by --max-time"


def _line(each: FoundFault) -> str:
    outcome = "; repaired" if each.repaired else f"; {each.remark}" if each.remark else ""
    return f"{each.kind}: {each.path}: {each.detail}{outcome}"
