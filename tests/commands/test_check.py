"""``registry-cache check`` where something is cached: that is asked for, as nobody named anything else."""

from __future__ import annotations

import pytest

from tests.harness.images import make_image
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


def test_what_is_cached_is_asked_for(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    image = make_image(upstream, tag="1")
    puller.manifest("1")
    upstream.faults.require_token = True

    done = cache.run("check")

    assert done.returncode == 0
    assert f"ok      token: {upstream.address} gives one for library/app without an account\n" in done.stdout
    assert f"ok      manifest: library/app:1 is {image.digest}\n" in done.stdout
    assert upstream.counted_pulls == 1


@pytest.mark.parametrize("private", [False, True])
def test_what_has_gone_since_it_was_cached_is_no_failure(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, private: bool
) -> None:
    make_image(upstream, tag="1")
    puller.manifest("1")
    if private:
        upstream.faults.private.add("library/app")
    else:
        upstream.untag("library/app", "1")

    done = cache.run("check")

    assert done.returncode == 0
    assert "warning manifest: " in done.stdout
    # Whoever names it wants to know.
    assert cache.run("check", "library/app:1").returncode == 1
