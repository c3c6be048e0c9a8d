"""``registry-cache status``: from the disk alone, beside a server at work, after its death, and where none ever was."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from registry_cache.store.layout import Layout
from registry_cache.store.reader_notes import readers_by_digest
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually


def status(cache: CacheServer) -> Any:
    """The JSON document."""
    done = cache.run("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def text(cache: CacheServer) -> str:
    done = cache.run("status")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_a_pull_left(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    image = make_image(upstream, layers=2)
    before = status(cache)
    size = len(puller.manifest("1").body) + sum(len(puller.blob(blob).body) for blob in image.blobs)
    upstream.forget()

    after = status(cache)

    assert before["cached"] == {"repositories": 0, "tags": 0, "manifests": 0, "blobs": 0, "bytes": 0}
    assert after["cached"] == {"repositories": 1, "tags": 1, "manifests": 1, "blobs": 3, "bytes": size}
    assert after["transfers"] == []
    assert after["bucket"] is None
    assert after["upstreams"][0]["state"] == "ok"
    assert after["store"]["used"] >= size
    assert 0 < after["store"]["free"] <= after["store"]["total"]
    assert "  1 repository, 1 tag, 1 manifest, 3 blobs\n" in text(cache)
    assert upstream.exchanges == []


def test_a_held_transfer_has_a_bar_and_readers(
    upstream: FakeUpstream, cache: CacheServer, make_puller: MakePuller
) -> None:
    blob = upstream.add_blob(random_bytes(4 * MiB))
    upstream.faults.hold_at = 2 * MiB
    start = time.time()
    # By whichever worker they come.
    pulls = [make_puller(cache.url).start_blob(APP, blob) for _ in range(2)]
    for pull in pulls:
        pull.wait_for(2 * MiB - 1)  # what a client has is on the disk, and so is what was told of it before

    # Each worker tells its readers once a second.
    eventually(lambda: readers_by_digest(Layout(cache.root)).get(blob) == 2)
    [transfer] = status(cache)["transfers"]
    shown = text(cache)
    upstream.faults.release()

    assert [pull.finish().digest for pull in pulls] == [blob, blob]
    began = datetime.fromisoformat(transfer.pop("since")).timestamp()
    assert start - 1 <= began <= time.time()
    assert transfer == {
        "readers": 2,
        "digest": blob,
        "upstream": upstream.address,
        "repository": APP,
        "state": "running",
        "bytes": 2 * MiB,
        "size": 4 * MiB,
        "percent": 50,
        "error": None,
    }
    assert (
        f"  [##########----------]  50 %  2.0 MiB of 4.0 MiB  {blob[:19]} of {APP} from {upstream.address}, 2 readers\n"
        in shown
    )
    assert status(cache)["transfers"] == []


def test_a_transfer_whose_server_died(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache()
    blob = upstream.add_blob(random_bytes(4 * MiB))
    upstream.faults.hold_at = 2 * MiB
    make_puller(cache.url).start_blob(APP, blob).wait_for(2 * MiB - 1)
    cache.kill_all()

    [transfer] = status(cache)["transfers"]

    assert (transfer["state"], transfer["bytes"], transfer["size"]) == ("interrupted", 2 * MiB, 4 * MiB)
    assert f"  interrupted at 2.0 MiB of 4.0 MiB, resumed by the next pull: {blob[:19]}" in text(cache)


def test_looking_all_the_time_disturbs_nobody(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(2 * MiB))
    upstream.faults.rate = 2 * MiB
    pulls = [puller.start_blob(APP, blob) for _ in range(8)]
    while any(pull.is_alive() for pull in pulls):
        status(cache)
    assert {pull.finish().digest for pull in pulls} == {blob}
    assert upstream.gets(blob) == 1


def test_a_limited_upstream(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache()
    make_image(upstream)
    upstream.faults.rate_limit = 0
    upstream.faults.retry_after = "3600"
    assert make_puller(cache.url).manifest("1").status == 503

    [limited] = status(cache)["upstreams"]

    assert (limited["state"], limited["limited"], limited["cause"]) == ("limited", "pulls", None)
    assert limited["limited_until"] > status(cache)["at"]
    assert {**limited["pulls"], "seen_at": ""} == {
        "left": 0, "limit": 0, "window_seconds": 21600, "source": "127.0.0.1", "seen_at": "", "current": True,
    }  # fmt: skip
    assert "limited until " in text(cache)
    assert "(0 of 0 pulls left in 6 h, counted for 127.0.0.1, seen " in text(cache)


def test_an_upstream_that_is_down_and_comes_back(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any
) -> None:
    cache = make_cache()
    puller = make_puller(cache.url)
    make_image(upstream)
    upstream.stop()
    # Both are told before the client has its answer.
    eventually(lambda: puller.manifest("1").status >= 500 and "upstream is down" in cache.log_text())

    [down] = status(cache)["upstreams"]
    assert down["down_since"] <= status(cache)["at"]
    assert "refused" in down["cause"]
    assert "  down since " in text(cache)

    upstream.start()
    eventually(lambda: puller.manifest("1").status == 200)
    assert status(cache)["upstreams"][0]["state"] == "ok"


def test_without_a_server_and_without_a_store(make_cache: MakeCache) -> None:
    cache = make_cache(started=False)
    never = cache.root.with_name("never")
    cache.config_file.write_text(cache.config_file.read_text().replace(str(cache.root), str(never)))

    found = status(cache)

    assert (found["store"]["exists"], found["store"]["used"], found["transfers"]) == (False, 0, [])
    assert "holds no store yet: serve makes it" in text(cache)
    assert not never.exists()


def test_another_versions_store(make_cache: MakeCache) -> None:
    other = make_cache(started=False)
    other.root.mkdir(exist_ok=True)
    (other.root / "layout").write_bytes(b"2\n")

    done = other.run("status")

    assert (done.returncode, done.stdout) == (1, "")
    assert "use the version that wrote it" in done.stderr


def test_a_bad_configuration(make_cache: MakeCache) -> None:
    other = make_cache(started=False)
    other.config_file.write_text("proxy: {ttl: 7}")
    assert other.run("status").returncode == other.run("check").returncode == 2
