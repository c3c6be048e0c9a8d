"""The sentence at the top: all is well, or what is wrong, since when, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from registry_cache.ui.words import clock, cut, span
from registry_cache.upkeep.live_status import Glance
from registry_cache.upkeep.status import PullCount, UpstreamStatus

Tone = Literal["good", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """``text``, and the ``command`` to type, "" where there is nothing to do."""

    tone: Tone
    text: str
    command: str = ""


def sentences(glance: Glance) -> list[Sentence]:
    """Return what to say, the worst first; at least one."""
    wrong = [*_store(glance), *(each for upstream in glance.upstreams for each in _upstream(upstream, glance))]
    worst_first = sorted(wrong, key=lambda each: each.tone != "bad")
    limits = [words for each in glance.upstreams if each.state == "ok" and (words := pulls_left(each, glance))]
    return worst_first or [Sentence("good", " ".join(["Serving.", *limits]))]


def pulls_left(upstream: UpstreamStatus, glance: Glance) -> str:
    """Return how many pulls an upstream leaves us and until when; "" where it did not say, or that is over."""
    pulls = upstream.pulls
    if pulls is None or not pulls.current:
        return ""
    return f"{cut(upstream.name)}: {pulls.left} of {pulls.limit} pulls left{_until(pulls, glance)}."


def _until(pulls: PullCount, glance: Glance) -> str:
    return f" until {clock(pulls.seen_at + pulls.window, glance.now, glance.zone)}" if pulls.window else ""


def _store(glance: Glance) -> Iterator[Sentence]:
    if glance.store == "full":
        yield Sentence("warn", "The disk is full: pulls are served, and nothing new is kept.", "registry-cache cleanup")
    elif glance.store != "ok":
        text = "The store is gone, read-only or broken, or does not answer. The server's log says which."
        yield Sentence("bad", text, "registry-cache status")


def _upstream(upstream: UpstreamStatus, glance: Glance) -> Iterator[Sentence]:
    name = cut(upstream.name)
    if upstream.state == "down" and upstream.since is not None:
        since = f"{clock(upstream.since, glance.now, glance.zone)} ({span(glance.now - upstream.since)})"
        text = f"{name} has not answered since {since}. What is cached is served. {cut(upstream.cause)}"
        yield Sentence("bad", text.strip(), "registry-cache check")
    elif upstream.state == "limited" and upstream.until is not None:
        until = clock(upstream.until, glance.now, glance.zone)
        what = "all requests" if upstream.everything else "pulls"
        # It asks whether the limit is over already, and forgets it then.
        yield Sentence(
            "warn", f"{name} refuses {what} until {until}. What is cached is served.", "registry-cache check"
        )
