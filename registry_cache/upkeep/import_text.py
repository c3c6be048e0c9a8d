"""What an import reports: lines for people, a document for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from registry_cache.store.interchange.ingest import Arrival
from registry_cache.upkeep.import_session import BlobTally, ImportResult
from registry_cache.upkeep.report import MOST_NAMED, counted, size

SourceKind = Literal["distribution", "layout", "archive"]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """An import of the ``kind`` of source in ``place``, in ``seconds``."""

    kind: SourceKind
    place: str
    result: ImportResult
    seconds: float
    dry_run: bool = False
    complete: bool = True

    @property
    def ok(self) -> bool:
        return self.complete and not self.result.damaged

    @property
    def exit_status(self) -> int:
        return 0 if self.ok else 1 if self.complete else 3

    def lines(self) -> Iterator[str]:
        """Yield what was left out, and the line that sums up."""
        result = self.result
        yield from (f"left out {each.what}: {each.why}" for each in result.left_out)
        if result.damaged > len(result.left_out):
            yield f"and {result.damaged - len(result.left_out)} more: these are the first {MOST_NAMED}"
        yield "; ".join(self._summary())

    def document(self) -> dict[str, object]:
        """docs/migrating.md explains each value."""
        result = self.result
        new = asdict(result.tallies[Arrival.LINKED])
        # The manifests of an archive are known only when its bytes are here.
        counts_manifests = not self.dry_run or self.kind == "distribution"
        return {
            "source": {"kind": self.kind, "place": self.place},
            "dry_run": self.dry_run,
            "complete": self.complete,
            "ok": self.ok,
            "repositories": result.repositories,
            "manifests": result.manifests if counts_manifests else None,
            "tags": result.tags,
            "tags_newer_here": result.newer,
            "new": new if self.dry_run else None,
            "linked": None if self.dry_run else new,
            "copied": None if self.dry_run else asdict(result.tallies[Arrival.COPIED]),
            "already_here": asdict(result.tallies[Arrival.HERE]),
            "absent": result.absent,
            "left_out": result.damaged,
            "problems": [asdict(each) for each in result.left_out],
            "seconds": round(self.seconds, 3),
        }

    def _summary(self) -> Iterator[str]:
        result = self.result
        verb = "would import" if self.dry_run else "imported"
        repositories = counted(result.repositories, "repository", "repositories")
        yield f"{verb} {counted(result.tags, 'tag')} of {repositories}"
        new, copied, here = (result.tallies[how] for how in (Arrival.LINKED, Arrival.COPIED, Arrival.HERE))
        if self.dry_run:
            yield f"{_words(new)} to come"
        else:
            yield f"{_words(new)} linked, {_words(copied)} copied"
        yield f"{_words(here)} {'was' if here.blobs == 1 else 'were'} here already"
        if result.newer:
            yield counted(result.newer, "tag is newer here and stays", "tags are newer here and stay")
        if result.absent:
            absent = counted(result.absent, "thing that it names is", "things that it names are")
            yield f"{absent} not in it: the next pull fetches {'it' if result.absent == 1 else 'them'}"
        if result.damaged:
            yield f"{result.damaged} left out"
        read = new.bytes + copied.bytes
        if read and not self.dry_run:
            yield f"{self.seconds:.1f} s, {size(int(read / max(self.seconds, 0.001)))}/s"
        if not self.complete:
            yield "stopped: run it again, and it goes on"


def _words(tally: BlobTally) -> str:
    return f"{counted(tally.blobs, 'blob')} ({size(tally.bytes)})"
