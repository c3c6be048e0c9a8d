"""A status report as lines for a person. Pure; times in the zone of who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from registry_cache.store.inventory import Unfinished
from registry_cache.upkeep.status import Pulls, Report, Upstream, percent

BAR = 20

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def lines(report: Report, zone: tzinfo | None) -> Iterator[str]:
    """Yield the lines of ``registry-cache status``."""
    yield from map(printable, _lines(report, zone))


def printable(text: str) -> str:
    """Return ``text`` without what moves the cursor of who reads it: upstream chose some of the words."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def size(count: int) -> str:
    """Return a number of bytes in a unit that a person can compare."""
    number = float(count)
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{count} B" if unit == "B" else f"{number:.1f} {unit}"


def clock(moment: float, now: float, zone: tzinfo | None) -> str:
    """Return a time of today as HH:MM:SS, with its date in front where it is another day's."""
    then, today = datetime.fromtimestamp(moment, zone), datetime.fromtimestamp(now, zone).date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M:%S")


def ago(seconds: float) -> str:
    """Return a span in its largest fitting unit."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _lines(report: Report, zone: tzinfo | None) -> Iterator[str]:
    yield "upstreams"
    width = max((len(each.name) for each in report.upstreams), default=0)
    for each in report.upstreams:
        yield f"  {each.name:{width}}  {_upstream(each, report.now, zone)}"
    cached = report.cached
    yield "cached"
    counted = (
        (cached.repositories, "repository", "repositories"),
        (cached.tags, "tag", "tags"),
        (cached.manifests, "manifest", "manifests"),
        (cached.blobs, "blob", "blobs"),
    )
    yield "  " + ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in counted)
    yield f"  {size(cached.bytes)}"
    yield "transfers"
    yield from (f"  {_transfer(each)}" for each in report.transfers)
    if not report.transfers:
        yield "  none"
    yield "disk"
    store = f"uses {size(report.used)}" if report.exists else "holds no store yet: serve makes it"
    yield f"  {report.root} {store}"
    yield f"  {size(report.room.free)} of {size(report.room.total)} are free on its file system"


def _upstream(each: Upstream, now: float, zone: tzinfo | None) -> str:
    pulls = _pulls(each.pulls, now) if each.pulls else ""
    if each.state == "down" and each.since is not None:
        lasting = f"down since {clock(each.since, now, zone)} ({ago(now - each.since)}): {each.cause}"
        return f"{lasting}; {pulls}" if pulls else lasting
    if each.state == "limited" and each.until is not None:
        scope = ", for everything" if each.everything else ""
        return f"limited until {clock(each.until, now, zone)}{scope}" + (f" ({pulls})" if pulls else "")
    return f"ok; {pulls}" if pulls else "ok"


def _pulls(pulls: Pulls, now: float) -> str:
    source = f", counted for {pulls.source}" if pulls.source else ""
    seen = f"{ago(now - pulls.seen_at)} ago"
    if not pulls.current:
        return f"{pulls.left} of {pulls.limit} pulls were left {seen}{source}; that count is over"
    window = f" in {pulls.window / 3600:g} h" if pulls.window else ""
    return f"{pulls.left} of {pulls.limit} pulls left{window}{source}, seen {seen}"


def _transfer(each: Unfinished) -> str:
    where = f" of {each.repository} from {each.upstream}" if each.repository else ""
    name = f"{each.digest.algorithm}:{each.digest.hex[:12]}{where}"
    done = percent(each)
    total = f" of {size(each.size)}" if each.size is not None else ""
    if not each.running:
        cause = f" ({each.error})" if each.error else ""
        return f"interrupted at {size(each.bytes)}{total}, resumed by the next pull: {name}{cause}"
    if done is None:
        return f"[{'?' * BAR}]        {size(each.bytes)} of unknown size  {name}"
    filled = done * BAR // 100
    return f"[{'#' * filled}{'-' * (BAR - filled)}] {done:3} %  {size(each.bytes)}{total}  {name}"
