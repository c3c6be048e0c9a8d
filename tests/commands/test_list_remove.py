"""``registry-cache list`` and ``remove`` beside a server: what is removed is gone for the next pull."""

from __future__ import annotations

import json

from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import make_image
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


def test_an_image_is_listed_removed_and_pulled_again(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image = make_image(upstream)
    assert cache.run("warm", "library/app:1").returncode == 0
    name = f"{upstream.address}/{APP}:1"

    listed = cache.run("list", "library/app")
    told = json.loads(cache.run("list", "--json", "--sort", "size").stdout)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.splitlines()[-1].endswith(f"  {name}")
    assert [each["digest"] for each in told["images"]] == [image.digest]
    removed = cache.run("remove", "library/app:1")

    assert (removed.returncode, removed.stderr) == (0, "")
    assert removed.stdout.startswith("removed library/app:1: ")
    assert cache.run("list").stdout == "no image is here\n"
    assert puller.manifest("1").headers["X-Cache"] == "miss"
    assert puller.blob(image.layers[0]).headers["X-Cache"] == "miss"
    assert cache.run("remove", image.layers[0]).returncode == 0
    assert puller.blob(image.layers[0]).headers["X-Cache"] == "miss"


def test_what_cannot_be_removed(upstream: FakeUpstream, cache: CacheServer) -> None:
    make_image(upstream)
    absent = cache.run("remove", "library/none:1")
    assert absent.returncode == 1
    assert absent.stderr == "registry-cache: library/none:1 is not here: registry-cache list prints what is\n"
    assert cache.run("remove", "No!").returncode == 2
    assert cache.run("remove", "sha256:12").returncode == 2
    assert cache.run("warm", "library/app:1").returncode == 0
    meant = cache.run("remove", "app:1")
    name = f"{upstream.address}/library/app:1"
    assert meant.stderr == f"registry-cache: app:1 is not here, but library/app is: registry-cache remove {name}\n"
    for typed in ("library/app", "app", f"{upstream.address}/library/app:latest"):
        told = cache.run("remove", typed).stderr
        assert f"app:latest is not here, but {upstream.address}/library/app is, as 1\n" in told
    assert cache.run("pin", "library/app:1").returncode == 0
    pinned = cache.run("remove", "library/app:1")
    assert pinned.returncode == 1
    assert pinned.stderr.endswith("/library/app:1: registry-cache unpin takes the pin back\n")
    assert cache.run("unpin", "library/app:1").returncode == 0
    assert cache.run("remove", "library/app:1").returncode == 0


def test_the_image_that_was_pulled_comes_first(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    cache = make_cache()
    for name in ("library/a", "library/b"):
        make_image(upstream, name)
        assert cache.run("warm", f"{name}:1").returncode == 0
    assert make_puller(cache.url).get("/v2/library/b/manifests/1").status == 200
    # A stop writes what was counted.
    cache.restart()
    images = json.loads(cache.run("list", "--json", "--sort", "pulls").stdout)["images"]
    assert [each["repository"].rpartition("/")[2] for each in images] == ["b", "a"]
    assert images[0]["pulls"] > images[1]["pulls"]


def test_without_a_journal_nobody_knows_what_was_pulled(make_cache: MakeCache) -> None:
    cache = make_cache({"statistics": {"clients": False}}, started=False)
    done = cache.run("list", "--sort", "pulls")
    assert done.returncode == 2
    assert "pulls are not counted" in done.stderr
