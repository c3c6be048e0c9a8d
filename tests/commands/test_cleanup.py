"""``registry-cache cleanup`` beside a server at work: nobody's pull fails, and what is used stays."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry_cache.policy.eviction import SETTLE, Bounds
from registry_cache.store import locks
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cleanup import Cleanup, CleanupResult
from tests.harness.cleanup_rig import DAY, HOUR, killed_at, snapshot
from tests.harness.content import APP, digest_of
from tests.harness.fixture_types import MakeCache
from tests.harness.images import Image, KiB, MiB, make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import eventually

ALL = timedelta(microseconds=1)


def idle(cache: CacheServer) -> None:
    """Wait until no transfer holds its lock, as it does until a moment after its last client has its answer."""
    eventually(lambda: not [path for path in cache.root.glob("locks/sha*/*") if locks.is_locked(str(path))])


def aged(cache: CacheServer, seconds: float) -> None:
    """Let everything that is stored have been used so long ago, tags included."""
    then = time.time() - seconds
    for path in (*cache.root.glob("blobs/*/*/*"), *cache.root.glob("repositories/**/_tags/*")):
        os.utime(path, (then, then))


def bound(cache: CacheServer, size: int | str) -> None:
    """Give the command a size that the server, which would make room itself, does not know of."""
    cache.workers()  # they have read the configuration
    config = yaml.safe_load(cache.config_file.read_text())
    config["storage"]["max_size"] = size
    cache.config_file.write_text(yaml.safe_dump(config))


def clean(cache: CacheServer, ahead: float = 60.0, **bounds: Any) -> CleanupResult:
    """A pass in this process, as if it were ``ahead`` seconds later."""
    result = Cleanup(Layout(cache.root), Bounds(**bounds), time.time() + ahead).run()
    assert result
    return result


def pull(puller: Puller, image: Image, reference: str = "1") -> list[str]:
    """Pull a whole image; return what was wrong."""
    manifest = puller.manifest(reference, image.repository)
    wrong = [] if manifest.body == image.manifest else [f"manifest {manifest.status} {manifest.body[:200]!r}"]
    for blob in image.blobs:
        answer = puller.blob(blob, image.repository)
        if digest_of(answer.body) != blob:
            wrong.append(f"blob {answer.status} {answer.body[:200]!r}")
    return wrong


def run_json(cache: CacheServer, *arguments: str, status: int = 0) -> Any:
    # Some stories change the size behind the server's back.
    done = cache.run("cleanup", "--json", "--force", *arguments)
    assert (done.returncode, done.stderr) == (status, "")
    return json.loads(done.stdout)


def files(cache: CacheServer) -> list[Path]:
    """What a cleanup may remove."""
    others = {"upstreams", "statistics"}
    found = (path for path in cache.root.glob("*/**/*") if path.is_file())
    return [path for path in found if path.relative_to(cache.root).parts[0] not in others]


def test_pulls_during_a_hundred_cleanups(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache(workers=2)
    puller = make_puller(cache.url)
    images = [make_image(upstream, f"team/app{number}", layers=2, seed=number % 3) for number in range(6)]
    wrong: list[str] = []
    pulls, over = 0, threading.Event()

    def client(number: int) -> None:
        nonlocal pulls
        while not over.is_set():
            wrong.extend(pull(puller, images[(number + pulls) % len(images)]))
            pulls += 1

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for each in clients:
        each.start()
    # Everything goes that was not used within the last second.
    evicted = passes = 0
    while passes < 100 or evicted < 20 or pulls <= 20:
        evicted += clean(cache, SETTLE / 10**9 - 1, ttl=ALL).evicted
        passes += 1
    over.set()
    for each in clients:
        each.join()

    assert wrong == []
    assert all(pull(puller, image) == [] for image in images)


def test_after_a_death_at_any_step_the_next_pull_is_whole(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    images = [make_image(upstream, repository, layers=2) for repository in ("team/a", "team/b")]
    number, died = 1, True
    while died:
        for image in images:
            assert pull(puller, image) == []
        idle(cache)
        aged(cache, 8 * DAY)
        with killed_at(number, cache.root) as count:
            clean(cache, ttl=timedelta(days=7))
        died = count[0] >= number
        number += 1
    assert number > 30
    # The locks that the dead held, and then the folders.
    clean(cache, 2 * HOUR, ttl=ALL)
    clean(cache, 4 * HOUR, ttl=ALL)
    # A worker says within a second that it has no readers any more.
    eventually(lambda: files(cache) == [])


def test_a_client_in_mid_body_gets_the_rest(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    blob = upstream.add_blob(random_bytes(32 * MiB))
    assert puller.start_blob(APP, blob).finish().digest == blob
    idle(cache)
    aged(cache, 8 * DAY)
    first, follower = puller.start_blob(APP, blob), upstream.add_blob(random_bytes(2 * MiB, seed=1))
    first.wait_for(1)
    upstream.faults.hold_at = 1 * MiB
    growing = puller.start_blob(APP, follower)
    growing.wait_for(512 * KiB)

    aged(cache, 8 * DAY)
    result = clean(cache, ttl=ALL)

    upstream.faults.release()
    assert result.evicted == 1
    assert [first.finish().digest, growing.finish().digest] == [blob, follower]


def test_an_image_that_is_asked_for_keeps_its_layers(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    hot, cold = make_image(upstream, "team/hot"), make_image(upstream, "team/cold", seed=1)
    assert pull(puller, hot) + pull(puller, cold) == []
    idle(cache)
    aged(cache, 30 * DAY)
    assert puller.manifest("1", "team/hot").headers["X-Cache"] == "revalidated"  # the client has the layers

    done = cache.run("cleanup")

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"evicted 5 of 10 blobs, \S+ KiB of \S+ KiB; \d+ names and records\n", done.stdout)
    upstream.forget()
    assert {puller.blob(blob, "team/hot").headers["X-Cache"] for blob in hot.blobs} == {"hit"}
    assert pull(puller, cold) == []
    assert {upstream.gets(blob) for blob in cold.blobs} == {1}


def test_a_size_that_holds(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache()
    puller = make_puller(cache.url)
    bound(cache, "500KiB")
    for number in range(12):
        image = make_image(upstream, f"team/app{number}", layers=1, layer_size=100 * KiB, seed=number)
        assert pull(puller, image) == []
        aged_ago = time.time() - (12 - number) * HOUR
        for path in cache.root.glob("blobs/*/*/*"):
            if path.stat().st_mtime > time.time() - 60:
                os.utime(path, (aged_ago, aged_ago))
        if number % 3 == 2:
            idle(cache)
            found = run_json(cache)
            assert found["state"] == "done"
            assert found["bytes"] - found["evicted"]["bytes"] <= 500 * KiB
    stored = sum(path.stat().st_size for path in cache.root.glob("blobs/*/*/*"))
    assert 300 * KiB < stored <= 500 * KiB
    assert puller.blob(image.layers[0], image.repository).headers["X-Cache"] == "hit"


def test_a_dry_run_tells_and_does_nothing(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    image = make_image(upstream, layers=1)
    pull(puller, image)
    idle(cache)
    aged(cache, 8 * DAY)
    before = snapshot(cache.root)

    done = cache.run("cleanup", "--dry-run")
    told = run_json(cache, "--dry-run")

    assert snapshot(cache.root) == before
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows, summary = done.stdout.splitlines()
    assert head.split() == ["WHAT", "SIZE", "LAST", "USED", "WHY"]
    assert len(rows) == 3
    assert all(f" of {upstream.address}/{APP} " in row and "proxy.ttl" in row for row in rows)
    assert summary.startswith("would evict 3 of 3 blobs, ")
    assert (told["version"], told["state"], told["dry_run"], told["blobs"]) == (1, "planned", True, 3)
    assert {each["digest"] for each in told["candidates"]} == {image.digest, *image.blobs}
    assert {each["what"].split()[0] for each in told["candidates"]} == {"manifest", "blob"}


def test_exit_statuses(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache()
    assert pull(make_puller(cache.url), make_image(upstream)) == []
    bound(cache, 10)
    assert run_json(cache, "--max-time", "0s", status=3)["state"] == "stopped"
    stopped = cache.run("cleanup", "--force", "--max-time", "0s")
    assert (stopped.returncode, stopped.stdout) == (3, "")
    assert stopped.stderr.endswith("; stopped by --max-time before it was known what must go: give it longer\n")
    # What was just pulled is in use, whatever the size; and just now it is, however long all this takes.
    idle(cache)
    aged(cache, -DAY)
    assert run_json(cache, status=3)["state"] == "over"
    aged(cache, DAY)
    with locks.LockFile(Layout(cache.root).cleanup_lock) as lock:
        assert lock.acquire()
        assert run_json(cache)["state"] == "running"
        assert cache.run("cleanup", "--force").stdout == "another cleanup is running: nothing to do\n"
    assert run_json(cache)["evicted"]["blobs"] == 5
    assert run_json(cache)["evicted"] == {"blobs": 0, "bytes": 0, "names": 0}
    assert cache.run("cleanup", "--max-time", "10").returncode == 2
    cache.config_file.write_text("storage: {max_size: 200G}")
    assert cache.run("cleanup").returncode == 2


def test_other_rules_than_the_servers(upstream: FakeUpstream, make_cache: MakeCache, make_puller: Any) -> None:
    cache = make_cache({"proxy": {"ttl": "0"}})
    assert pull(make_puller(cache.url), make_image(upstream)) == []
    idle(cache)
    aged(cache, 30 * DAY)
    settings = yaml.safe_load(cache.config_file.read_text())
    settings["proxy"]["ttl"] = "24h"
    cache.config_file.write_text(yaml.safe_dump(settings))

    for arguments in (["cleanup"], ["cleanup", "--dry-run"], ["verify", "--repair"]):
        stopped = cache.run(*arguments)
        assert (stopped.returncode, stopped.stdout) == (2, "")
        assert f"the server of {cache.root} runs with other rules ({cache.config_file}): " in stopped.stderr
        assert "proxy.ttl is 24h here and 0 there" in stopped.stderr
        assert stopped.stderr.endswith("with --config, or reload the server, or continue with --force\n")
    assert cache.run("verify").returncode == 0
    assert "would evict 5 of 5" in cache.run("cleanup", "--dry-run", "--force").stdout
    settings["proxy"]["ttl"] = "0"
    cache.config_file.write_text(yaml.safe_dump(settings))
    assert cache.run("cleanup").stdout.startswith("evicted 0 of 5")


def test_without_a_store_and_with_anothers(make_cache: MakeCache) -> None:
    cache = make_cache(started=False)
    never = cache.root.with_name("never")
    text = cache.config_file.read_text()
    cache.config_file.write_text(text.replace(str(cache.root), str(never)))
    assert run_json(cache)["state"] == run_json(cache, "--dry-run").get("state", "").replace("planned", "done")
    assert not never.exists()
    never.mkdir()
    (never / "layout").write_bytes(b"2\n")
    failed = cache.run("cleanup")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "use the version that wrote it" in failed.stderr


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_progress_is_for_terminals(cache: CacheServer, arguments: tuple[str, ...]) -> None:
    done = cache.run_on_terminal("cleanup", *arguments)
    assert done.returncode == 0
    assert "\x1b[K" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("of 0 blobs, 0 B of 0 B")
