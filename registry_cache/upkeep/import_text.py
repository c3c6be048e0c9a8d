"""What an import tells: lines for people, a document for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from registry_cache.store.interchange.ingest import Arrival
from registry_cache.upkeep.importer import MOST_NAMED, Result, Tally
from registry_cache.upkeep.status_text import printable, size

VERSION = 1

Kind = Literal["distribution", "layout", "archive"]


@dataclass(frozen=True, slots=True)
class Report:
    """An import of the ``kind`` of source in ``place``, in ``seconds``."""

    kind: Kind
    place: str
    result: Result
    seconds: float
    dry_run: bool = False
    complete: bool = True

    @property
    def ok(self) -> bool:
        return self.complete and not self.result.damaged


def lines(report: Report) -> Iterator[str]:
    """Yield what was left out, and the line that sums up."""
    found = report.result
    yield from (printable(f"left out {each.what}: {each.why}") for each in found.left_out)
    if found.damaged > len(found.left_out):
        yield f"and {found.damaged - len(found.left_out)} more: these are the first {MOST_NAMED}"
    yield printable("; ".join(_parts(report)))


def document(report: Report) -> dict[str, object]:
    """Return the report as JSON values; docs/migrating.md explains each."""
    found = report.result
    new = found.tallies[Arrival.LINKED]
    return {
        "version": VERSION,
        "source": {"kind": report.kind, "place": report.place},
        "dry_run": report.dry_run,
        "complete": report.complete,
        "ok": report.ok,
        "repositories": found.repositories,
        # An archive's manifests are known when its bytes are here.
        "manifests": None if report.dry_run and report.kind != "distribution" else found.manifests,
        "tags": found.tags,
        "tags_newer_here": found.newer,
        "new": _tally(new) if report.dry_run else None,
        "linked": None if report.dry_run else _tally(new),
        "copied": None if report.dry_run else _tally(found.tallies[Arrival.COPIED]),
        "already_here": _tally(found.tallies[Arrival.HERE]),
        "absent": found.absent,
        "left_out": found.damaged,
        "problems": [{"what": each.what, "why": each.why} for each in found.left_out],
        "seconds": round(report.seconds, 3),
    }


def _parts(report: Report) -> Iterator[str]:
    found = report.result
    verb = "would import" if report.dry_run else "imported"
    yield f"{verb} {found.tags} tags of {found.repositories} repositories"
    new, copied, here = (found.tallies[how] for how in (Arrival.LINKED, Arrival.COPIED, Arrival.HERE))
    if report.dry_run:
        yield f"{_words(new)} to come"
    else:
        yield f"{_words(new)} linked, {_words(copied)} copied"
    yield f"{_words(here)} were here already"
    if found.newer:
        yield f"{found.newer} tags are newer here and stay"
    if found.absent:
        yield f"{found.absent} things that it names are not in it: the next pull fetches them"
    if found.damaged:
        yield f"{found.damaged} left out"
    read = new.bytes + copied.bytes
    if read and not report.dry_run:
        yield f"{report.seconds:.1f} s, {size(int(read / max(report.seconds, 0.001)))}/s"
    if not report.complete:
        yield "stopped: run it again, and it goes on"


def _words(tally: Tally) -> str:
    return f"{tally.blobs} blobs ({size(tally.bytes)})"


def _tally(tally: Tally) -> dict[str, int]:
    return {"blobs": tally.blobs, "bytes": tally.bytes}
