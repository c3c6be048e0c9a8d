"""``registry-cache warm`` and ``export`` beside a server and its clients: nothing is downloaded twice."""

from __future__ import annotations

import json
import signal
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from registry_cache.oci.platform import this_machine
from tests.harness.content import APP, digest_of
from tests.harness.images import Image, KiB, MiB, make_image, make_index
from tests.harness.programs import PROGRAM, without_heading
from tests.harness.pullers import Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream
from tests.harness.waiting import SECONDS, eventually


def size(upstream: FakeUpstream, image: Image) -> int:
    return sum(len(upstream.blob(image.repository, blob) or b"") for blob in image.blobs)


def sent(upstream: FakeUpstream, image: Image) -> int:
    return sum(upstream.bytes_sent(blob) for blob in image.blobs)


def test_clients_of_the_same_image_cost_no_second_download(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image = make_image(upstream, layers=3, layer_size=2 * MiB)
    upstream.faults.hold_at = 1 * MiB  # of every layer; both are at work meanwhile
    with ThreadPoolExecutor() as threads:
        client = puller.start_blob(APP, image.layers[2])
        client.wait_for(512 * KiB)
        warm = threads.submit(cache.run, "warm", "library/app:1", "--json")
        upstream.wait_until(lambda: all(upstream.in_flight(layer) for layer in image.layers))
        others = [puller.start_blob(APP, layer) for layer in image.layers]
        for each in others:
            each.wait_for(512 * KiB)
        upstream.faults.release()
        done = warm.result()

    assert [each.finish().digest for each in (client, *others)] == [image.layers[2], *image.layers]
    assert (done.returncode, done.stderr) == (0, "")
    (told,) = json.loads(done.stdout)["images"]
    assert (told["blobs"]["all"], told["blobs"]["fetched"]) == (4, 3)
    assert sent(upstream, image) == size(upstream, image)
    assert [upstream.gets(blob) for blob in image.blobs] == [1] * 4


def test_what_is_warm_costs_its_clients_no_counted_pull(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    index = make_index(upstream, platforms=(str(this_machine()), "linux/s390x"))
    done = cache.run("warm", "library/app:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"/library/app:1 {this_machine()}: 4 of 4 blobs fetched, 19" in done.stdout
    upstream.forget()
    assert digest_of(puller.manifest("1").body) == index.digest
    for blob in (index.images[0].digest, *index.images[0].blobs):
        answer = puller.manifest(blob) if blob == index.images[0].digest else puller.blob(blob)
        assert (answer.headers["X-Cache"], digest_of(answer.body)) == ("hit", blob)
    assert upstream.requests("GET") == []


def test_ctrl_c_ends_it_at_once_and_the_next_pull_goes_on(
    upstream: FakeUpstream, cache: CacheServer, puller: Puller
) -> None:
    image = make_image(upstream, layers=1, layer_size=4 * MiB)
    (layer,) = image.layers
    upstream.faults.of(layer).hold_at = 2 * MiB
    command = [PROGRAM, "--config", str(cache.config_file), "warm", "library/app:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as warm:
        upstream.wait_until(lambda: upstream.in_flight(layer))
        partial = cache.root / "partial" / "sha256" / layer.partition(":")[2]
        eventually(lambda: partial.exists() and partial.stat().st_size == 2 * MiB)
        warm.send_signal(signal.SIGINT)
        out, told = warm.communicate(timeout=SECONDS)
    assert (warm.returncode, without_heading(out)) == (3, "")
    assert told == "0 of 1 image is here; stopped: the next pull goes on where this one was\n"
    upstream.faults.release()
    assert puller.start_blob(APP, layer).finish().digest == layer
    ranges = [each.headers.get("Range") for each in upstream.requests("GET", layer)]
    assert ranges == [None, f"bytes={2 * MiB}-"]


def test_a_list_goes_on_behind_what_fails(upstream: FakeUpstream, cache: CacheServer, tmp_path: Path) -> None:
    make_image(upstream)
    listed = tmp_path / "list"
    listed.write_text("# ours\nlibrary/none:1\n\nlibrary/app:1  # the only one\nNo!\nlibrary/app:1\n")
    done = cache.run("warm", "--file", str(listed))
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["warmed"]
    assert [line.split(":")[0] for line in done.stderr.splitlines()[:2]] == ["failed library/none", "failed No!"]
    assert done.stderr.splitlines()[2] == "1 of 3 images are here"


def test_an_archive_is_written_whole_or_not_at_all(upstream: FakeUpstream, cache: CacheServer, tmp_path: Path) -> None:
    image, place = make_image(upstream), tmp_path / "archive.tar"
    failed = cache.run("export", "library/app:1", "--to", str(place))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "run registry-cache warm" in failed.stderr
    assert failed.stderr.endswith("1 of 1 image cannot be exported; no archive was written\n")
    assert not place.exists()

    done = cache.run("export", "library/app:1", "--to", str(place), "--platform", "all", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["bytes"], told["images"][0]["digest"]) == (place.stat().st_size, image.digest)
    (place.parent / "piped.tar").write_bytes(_piped(cache))
    assert (place.parent / "piped.tar").read_bytes() == place.read_bytes()
    with tarfile.open(place) as tar:
        assert len(tar.getnames()) == 2 + 5


def test_a_reader_that_goes_is_a_failure(upstream: FakeUpstream, cache: CacheServer) -> None:
    make_image(upstream, layer_size=1 * MiB)
    assert cache.run("warm", "library/app:1").returncode == 0
    with subprocess.Popen(_export(cache), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as export:
        assert export.stdout
        assert export.stderr
        export.stdout.close()
        told = without_heading(export.stderr.read().decode())
        assert export.wait(SECONDS) == 1
    assert told == "registry-cache: could not write standard output: Broken pipe; no archive was written\n"


def _export(cache: CacheServer) -> list[str]:
    return [PROGRAM, "--config", str(cache.config_file), "export", "library/app:1", "--to", "-"]


def _piped(cache: CacheServer) -> bytes:
    done = subprocess.run(_export(cache), capture_output=True, timeout=30, check=True)
    assert b"exported" in done.stderr
    return done.stdout
