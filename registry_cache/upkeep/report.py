"""What every command's report has: lines for people, values for JSON, an exit status. And how to format figures.

0 means that all is well, 1 that something failed or is damaged, 2 a wrong command line or configuration, and 3 that the
work is not finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Protocol

# Of every JSON document. A field may be added without a new version; none is renamed or removed.
VERSION = 1
# Letters that a bar is wide.
BAR = 20
# A report names this many things; it counts them all. The list of all would not fit into memory for a large store.
MOST_NAMED = 1000
# Letters of a digest with its algorithm.
_SHORT = 19

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Report(Protocol):
    @property
    def exit_status(self) -> int:
        """0 unless a report says otherwise."""
        return 0

    def lines(self) -> Iterable[str]:
        """Return the lines for people; ``printable`` must be applied to each."""

    def document(self) -> dict[str, object]:
        """Return the JSON values except for ``version``; docs/reference.md explains each."""


def text_lines(report: Report) -> Iterator[str]:
    """Yield a report's lines as they are printed."""
    return map(printable, report.lines())


def json_document(report: Report) -> dict[str, object]:
    """Return a report's JSON document as it is printed."""
    return {"version": VERSION, **report.document()}


def printable(text: str) -> str:
    """Return ``text`` without what moves the reader's cursor: upstream chose some of the words."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def iso(moment: float) -> str:
    """Return seconds since the epoch as a document has them."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def table(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Yield rows of cells with their columns under each other; those whose numbers are in ``right`` end there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def short(digest: object) -> str:
    """Return as much of a digest as tells it from others."""
    return str(digest)[:_SHORT]


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many there are: ``1 blob``, ``2 blobs``. ``many`` where it is not ``one`` with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def size(count: int) -> str:
    """Return a number of bytes in a unit that a person can compare."""
    number = float(count)
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def clock(moment: float, now: datetime) -> str:
    """Return a time of today as HH:MM:SS, and with its date where it is another day's."""
    then = datetime.fromtimestamp(moment, now.tzinfo)
    return then.strftime("%H:%M:%S" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def age(moment: float, now: datetime) -> str:
    """Return how long ago a time was."""
    return ago(now.timestamp() - moment)


def ago(seconds: float) -> str:
    """Return a span in its largest fitting unit."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def bar(percent: int) -> str:
    """Return a bar and its number; ``percent`` is at most 100."""
    filled = percent * BAR // 100
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {percent:3} %"
