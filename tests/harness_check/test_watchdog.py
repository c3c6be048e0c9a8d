"""The watchdog sees a turn that holds the loop, and says where; what it has no core for is not the worker's."""

import pytest

from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.watchdog import LONGEST_SECONDS, Watchdog

SECONDS = 3 * LONGEST_SECONDS


@pytest.mark.parametrize(("view", "is_seen"), [("works", True), ("waits", False)])
def test_what_counts_as_a_turn(make_cache: MakeCache, make_puller: MakePuller, view: str, is_seen: bool) -> None:
    cache = make_cache(workers=1, application="tests.harness_check.busy:app")
    with Watchdog(cache) as others:
        assert make_puller(cache.url).get(f"/{view}?seconds={SECONDS}").status == 200
    assert (others.longest >= SECONDS) is is_seen, others.where
    assert (others.longest > LONGEST_SECONDS) is is_seen, others.where
    assert max(others.waits) > LONGEST_SECONDS
