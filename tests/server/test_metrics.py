"""What Prometheus sees: the same from whichever worker, and only from this machine."""

from __future__ import annotations

from collections.abc import Callable

from tests.conftest import MakeCache
from tests.harness.images import make_image
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream


def values(puller: Puller) -> dict[str, float]:
    lines = puller.get("/metrics").body.decode().splitlines()
    found = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name.partition("{")[0].removeprefix("registry_cache_upstream_"): float(value) for name, value in found}


def test_limits_and_outages_are_told(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Callable[[str], Puller]
) -> None:
    cache = make_cache()
    puller = make_puller(cache.url)
    assert values(puller) == {"up": 1, "limited_until_seconds": 0}

    make_image(upstream, tag="1")
    make_image(upstream, tag="2", seed=2)
    upstream.faults.rate_limit = 1
    assert puller.manifest("1").status == 200
    told = values(puller)
    assert (told["pull_limit"], told["pulls_left"], told["limited_until_seconds"]) == (1, 0, 0)

    assert puller.manifest("2").status == 429
    assert values(puller)["limited_until_seconds"] > 0


def test_they_are_for_this_machine_alone(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Callable[[str], Puller]
) -> None:
    puller = make_puller(make_cache().url)
    assert puller.get("/metrics").headers["Content-Type"].startswith("text/plain")
    for header in ("X-Forwarded-For", "Forwarded"):
        assert puller.get("/metrics", {header: "203.0.113.7"}).status == 404
