"""The rows of the overview: upstreams and transfers, as words and lengths of bars. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry_cache.ui.sentence import Tone
from registry_cache.ui.words import clock, cut, plural, quoted, short, size, span
from registry_cache.upkeep.live_status import Glance, Transfer
from registry_cache.upkeep.status import UpstreamStatus


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """``left`` of ``limit`` pulls, None where it never said; ``state`` and ``why`` in words; ``command`` to type."""

    name: str
    url: str
    tone: Tone
    state: str
    why: str
    command: str
    left: int | None = None
    limit: int | None = None
    limit_words: str = ""


@dataclass(frozen=True, slots=True)
class TransferRow:
    """``percent`` of a blob that is here, None while its size is unknown.

    ``words`` say how much, how fast, and for how many readers; ``page`` is the image's, "" where none is known. The
    ``command`` says who pulls it.
    """

    digest: str
    image: str
    page: str
    command: str
    is_running: bool
    percent: int | None
    words: str
    since: str
    error: str = ""


def upstream_row(each: UpstreamStatus, glance: Glance, answer_seconds: float | None) -> UpstreamRow:
    """Return the row of one upstream, whose answers took so long on average; None where none came lately."""
    tone, state, why = _state(each, glance, answer_seconds)
    # What is here of it; or why it does not answer, which also forgets a limit that is over.
    command = f"registry-cache list {quoted(f'{each.name}/')}" if tone == "good" else "registry-cache check"
    pulls = each.pulls
    if pulls is None:
        return UpstreamRow(each.name, each.url, tone, state, why, command)
    seen = f"{span(glance.now - pulls.seen_at)} ago"
    source = f", counted for {cut(pulls.source, 40)}" if pulls.source else ""
    words = f"seen {seen}{source}" if pulls.current else f"seen {seen}; that count is over"
    return UpstreamRow(each.name, each.url, tone, state, why, command, pulls.left, pulls.limit, words)


def _state(each: UpstreamStatus, glance: Glance, answer_seconds: float | None) -> tuple[Tone, str, str]:
    if each.state == "down" and each.since is not None:
        since = clock(each.since, glance.now, glance.zone)
        return "bad", f"down since {since} ({span(glance.now - each.since)})", cut(each.cause, 200)
    if each.state == "limited" and each.until is not None:
        what = "everything" if each.everything else "pulls"
        return "warn", f"refuses {what} until {clock(each.until, glance.now, glance.zone)}", ""
    if answer_seconds is None:
        # That there was no trouble does not say that it works.
        return "good", "no trouble known", ""
    return "good", "answers", f"in {answer_seconds * 1000:.0f} ms on average"


def transfer_row(each: Transfer, speeds: Mapping[str, float], glance: Glance) -> TransferRow:
    """Return the row of one transfer; ``speeds`` in bytes a second, by digest, as far as they are known."""
    percent = min(100, each.bytes * 100 // each.size) if each.size else None
    total = f" of {size(each.size)}" if each.size is not None else ""
    speed = speeds.get(str(each.digest)) if each.running else None
    pace = f" · {size(int(speed))}/s" if speed else ""
    since = f"since {clock(each.since, glance.now, glance.zone)}" if each.since is not None else ""
    readers = f" · {plural(each.readers, 'reader')}" if each.readers else ""
    page = f"{each.upstream}/{each.repository}" if each.repository else ""
    image = page or "of an image that is no longer known"
    error = cut(each.error, 200)
    return TransferRow(
        short(each.digest),
        cut(image),
        page,
        f"registry-cache pulls {quoted(page)}" if page else "registry-cache status",
        each.running,
        percent,
        f"{size(each.bytes)}{total}{pace}{readers}",
        since,
        error,
    )


class Speeds:
    """How fast transfers come, from one look to the next."""

    def __init__(self) -> None:
        self._before: tuple[float, dict[str, int]] = (0.0, {})

    def between(self, glance: Glance) -> dict[str, float]:
        """Return bytes a second of those that were there at the last look, by digest; remember this look."""
        at, before = self._before
        seconds = glance.now - at
        found = {str(each.digest): each.bytes for each in glance.transfers if each.running}
        self._before = (glance.now, found)
        # After a pause nobody has watched: what came in it was not steady.
        if not 0 < seconds < _LONGEST_PAUSE_SECONDS:
            return {}
        return {name: max(0, count - before[name]) / seconds for name, count in found.items() if name in before}


_LONGEST_PAUSE_SECONDS = 60.0
