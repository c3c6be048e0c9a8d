"""The rows of upstreams and transfers: each with what to type."""

from __future__ import annotations

from datetime import UTC

from registry_cache.oci.digest import Digest
from registry_cache.ui.rows import transfer_row, upstream_row
from registry_cache.upkeep.live_status import Glance, Transfer
from registry_cache.upkeep.status import UpstreamStatus

NOW = 40_000.0
GLANCE = Glance(NOW, UTC, (), (), None, None, "ok")
HUB = UpstreamStatus("docker.io", "https://registry-1.docker.io", "ok", None)
DIGEST = Digest.parse(f"sha256:{'ab' * 32}")


def test_an_upstream_that_answers_shows_how_to_see_what_is_here_of_it() -> None:
    row = upstream_row(HUB, GLANCE, 0.0413)
    assert (row.state, row.why, row.command) == ("answers", "in 41 ms on average", "registry-cache list docker.io/")


def test_one_that_nobody_has_asked_is_not_said_to_answer() -> None:
    row = upstream_row(HUB, GLANCE, None)
    assert (row.state, row.why) == ("no trouble known", "")


def test_trouble_shows_how_to_find_its_cause() -> None:
    down = UpstreamStatus("ghcr.io", "https://ghcr.io", "down", None, since=NOW - 60, cause="no route")
    limited = UpstreamStatus("quay.io", "https://quay.io", "limited", None, until=NOW + 60)

    assert [upstream_row(each, GLANCE, None).command for each in (down, limited)] == ["registry-cache check"] * 2


def test_a_transfer_shows_how_to_see_who_pulls_it() -> None:
    known = Transfer(DIGEST, 50, running=True, size=200, upstream="docker.io", repository="library/nginx", readers=2)
    unknown = Transfer(DIGEST, 50, running=False)

    row = transfer_row(known, {str(DIGEST): 10.0}, GLANCE)
    assert (row.percent, row.words) == (25, "50 B of 200 B · 10 B/s · 2 readers")
    assert row.command == "registry-cache pulls docker.io/library/nginx"
    assert transfer_row(unknown, {}, GLANCE).command == "registry-cache status"


def test_a_command_that_is_copied_runs_nothing_else() -> None:
    strange = Transfer(DIGEST, 50, running=True, upstream="docker.io", repository="a; reboot")
    assert transfer_row(strange, {}, GLANCE).command == "registry-cache pulls 'docker.io/a; reboot'"
