"""Damage on the disk: a server heals what it notices, ``registry-cache verify`` finds the rest, no client notices."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from registry_cache import cli
from registry_cache.policy.eviction import SETTLE, Bounds
from registry_cache.store import locks
from registry_cache.store.layout import Layout
from registry_cache.upkeep.cleanup import Cleanup
from registry_cache.upkeep.verify import Verify, VerifyTask
from tests.harness.cleanup_rig import cut, flip
from tests.harness.content import digest_of
from tests.harness.fixture_types import MakeCache
from tests.harness.images import Image, make_image
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


def pull(puller: Puller, image: Image, reference: str = "1") -> list[str]:
    """Pull a whole image; return what was wrong."""
    answers = {image.digest: puller.manifest(reference, image.repository)}
    answers |= {blob: puller.blob(blob, image.repository) for blob in image.blobs}
    return [f"{digest} {each.status}" for digest, each in answers.items() if digest_of(each.body) != digest]


def verify(cache: CacheServer, *arguments: str, status: int = 0) -> Any:
    done = cache.run("verify", "--json", "--rate", "0", *arguments)
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    return json.loads(done.stdout)


def test_a_flipped_bit_is_found_and_the_next_pull_is_right(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image, other = make_image(upstream, layers=2), make_image(upstream, "team/other", layers=2)
    assert pull(puller, image) + pull(puller, other) == []
    layer = image.layers[0]
    assert layer in other.layers
    path = cache.blob_file(layer)
    flip(str(path))
    damaged = path.read_bytes()

    found = cache.run("verify")
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr.startswith(f"flipped: {path.relative_to(cache.root)}: hashes to sha256:")
    done = cache.run("verify", "--repair")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("; repaired")
    [kept] = [each for each in cache.root.glob("quarantine/*/*") if each.suffix != ".json"]
    assert kept.read_bytes() == damaged
    upstream.forget()
    assert pull(puller, image) + pull(puller, other) == []
    assert upstream.gets(layer) == 1
    assert puller.blob(layer, "team/other").headers["X-Cache"] == "hit"
    assert verify(cache)["state"] == "sound"


@pytest.mark.parametrize("reference", ["1", "digest"])
def test_a_flipped_manifest_is_found_and_the_next_pull_is_right(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, reference: str
) -> None:
    image = make_image(upstream)
    assert pull(puller, image) == []
    flip(str(cache.blob_file(image.digest)))
    assert verify(cache, "--repair")["repaired"] == 1
    upstream.forget()
    assert pull(puller, image, image.digest if reference == "digest" else "1") == []
    assert upstream.gets(image.digest) == 1
    assert verify(cache)["state"] == "sound"


@pytest.mark.parametrize("size", [0, 100, 10_000_000])
def test_a_blob_of_a_wrong_size_is_healed_at_the_next_pull(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, size: int
) -> None:
    image = make_image(upstream)
    assert pull(puller, image) == []
    layer = image.layers[0]
    cut(str(cache.blob_file(layer)), size)
    upstream.forget()
    answer = puller.blob(layer)
    assert (answer.status, digest_of(answer.body), answer.headers["X-Cache"]) == (200, layer, "miss")
    assert (upstream.gets(layer), puller.blob(layer).headers["X-Cache"]) == (1, "hit")
    assert "evicted a damaged blob" in cache.log_text()


@pytest.mark.parametrize("harm", [lambda path: cut(path, 0), lambda path: cut(path, 100), flip])
@pytest.mark.parametrize("reference", ["1", "digest"])
def test_a_damaged_manifest_is_healed_at_the_next_pull(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller, harm: Any, reference: str
) -> None:
    image = make_image(upstream)
    assert pull(puller, image) == []
    harm(str(cache.blob_file(image.digest)))
    upstream.forget()
    answer = puller.manifest(image.digest if reference == "digest" else "1")
    assert (answer.status, answer.body) == (200, image.manifest)
    assert upstream.gets(image.digest) == 1
    assert puller.manifest(image.digest).headers["X-Cache"] == "hit"
    assert "evicted a damaged manifest" in cache.log_text()


def test_passes_beside_pulls_and_cleanups_find_nothing(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    images = [make_image(upstream, f"team/app{number}", layers=2, seed=number % 2) for number in range(4)]
    wrong: list[str] = []
    pulls, over = 0, threading.Event()

    def client() -> None:
        nonlocal pulls
        while not over.is_set():
            wrong.extend(pull(puller, images[pulls % len(images)]))
            pulls += 1

    client_thread = threading.Thread(target=client)
    client_thread.start()
    passes = evicted = faults = 0
    layout, bounds = Layout(cache.root), Bounds(ttl=timedelta(microseconds=1))
    while passes < 20 or evicted < 8:
        # Everything goes that was not used within the last second.
        cleaned = Cleanup(layout, bounds, time.time() + SETTLE / 10**9 - 1).run()
        looked = Verify(layout, VerifyTask(time.time(), 0, repair=True)).run()
        evicted += cleaned.evicted if cleaned else 0
        faults += looked.counts.total() if looked else 0
        passes += 1
    over.set()
    client_thread.join()

    assert (wrong, faults) == ([], 0)
    assert all(pull(puller, image) == [] for image in images)


def test_exit_statuses(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    assert pull(puller, make_image(upstream)) == []
    assert verify(cache)["state"] == "sound"
    assert verify(cache, "--max-time", "0s", status=3)["state"] == "stopped"
    stopped = cache.run("verify", "--max-time", "0s")
    assert (stopped.returncode, stopped.stdout) == (3, "")
    assert stopped.stderr.endswith("; stopped by --max-time\n")
    assert verify(cache, "--share", "1/3")["files"] <= verify(cache, "--share", "3/3")["files"] == 5
    with locks.LockFile(Layout(cache.root).verify_lock) as lock:
        assert lock.acquire()
        assert verify(cache, "--repair")["state"] == "running"
    foreign = cache.root / "README"
    foreign.write_bytes(b"")
    try:
        assert verify(cache, "--repair", status=1)["faults"][0]["kind"] == "foreign"
        assert foreign.exists()
    finally:
        foreign.unlink()


@pytest.mark.parametrize("wrong", ["--share=2", "--rate=5%", "--rate=5", "--rate=fast", "--max-time=10"])
def test_a_command_line_that_cannot_be(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", wrong])
    assert caught.value.code == 2
    assert "such as" in capsys.readouterr().err


def test_without_a_store_and_with_anothers(make_cache: MakeCache) -> None:
    cache = make_cache(started=False)
    never = cache.root.with_name("never")
    text = cache.config_file.read_text()
    cache.config_file.write_text(text.replace(str(cache.root), str(never)))
    assert verify(cache, "--repair")["state"] == "sound"
    assert not never.exists()
    never.mkdir()
    (never / "layout").write_bytes(b"2\n")
    failed = cache.run("verify")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "use the version that wrote it" in failed.stderr
    cache.config_file.write_text("storage: {max_size: 200G}")
    assert cache.run("verify").returncode == 2


def test_progress_is_for_terminals(upstream: FakeUpstream, cache: CacheServer, puller: Puller) -> None:
    assert pull(puller, make_image(upstream)) == []
    done = cache.run_on_terminal("verify")
    assert done.returncode == 0
    assert "looking" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("; no faults")
