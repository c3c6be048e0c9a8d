"""The sentence at the top."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from registry_cache.ui.sentence import sentences
from registry_cache.upkeep.live_status import Glance
from registry_cache.upkeep.status import PullCount, UpstreamStatus

NOW = 40_000.0
PULLS = PullCount(93, 100, 21_600, "203.0.113.7", NOW - 60, current=True)
HUB = UpstreamStatus("docker.io", "https://registry-1.docker.io", "ok", PULLS)
GLANCE = Glance(NOW, UTC, [HUB], (), None, None, "ok")


def test_all_is_well() -> None:
    [said] = sentences(GLANCE)
    assert (said.tone, said.text) == ("good", "Serving. docker.io: 93 of 100 pulls left until 17:05.")


def test_a_count_that_is_over_is_not_told() -> None:
    [said] = sentences(replace(GLANCE, upstreams=[replace(HUB, pulls=replace(PULLS, current=False))]))
    assert said.text == "Serving."


def test_what_is_wrong_since_when_and_what_to_do() -> None:
    down = replace(HUB, name="ghcr.io", state="down", since=NOW - 7200, cause="no route\x1b[2J" + "x" * 500)
    limited = replace(HUB, state="limited", until=NOW + 600)
    said = sentences(replace(GLANCE, upstreams=[limited, down], store="full"))

    assert [each.tone for each in said] == ["bad", "warn", "warn"]
    assert said[0].text.startswith("ghcr.io has not answered since 09:06 (2 h). What is cached is served. no route?[2J")
    assert len(said[0].text) < 250
    assert said[0].command == "registry-cache check"
    assert (said[1].text, said[1].command) == (
        "The disk is full: pulls are served, and nothing new is kept.",
        "registry-cache cleanup",
    )
    assert (said[2].text, said[2].command) == (
        "docker.io refuses pulls until 11:16. What is cached is served.",
        "registry-cache check",
    )


def test_a_broken_store_goes_before_everything() -> None:
    [said] = sentences(replace(GLANCE, store="failing"))
    assert (said.tone, said.command) == ("bad", "registry-cache status")
