"""What is evicted while nginx looks for it is no error for anybody."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from registry_cache.deployment import nginx
from tests.harness.content import digest_of
from tests.harness.images import KiB, make_image, random_bytes
from tests.harness.nginx import Nginx
from tests.harness.nginx_rig import Behind, site
from tests.harness.pullers import Answer, Puller

KEPT_OPEN = "open_file_cache max=4096 inactive=10s;"
CLIENTS = 4
ROUNDS = 25  # pulls of each client
PAUSE_SECONDS = 0.003  # between two evictions of everything


def names(folder: Path, digest: str) -> list[Path]:
    """What a repository calls it; nginx reads by no other names."""
    algorithm, _, hexadecimal = digest.partition(":")
    return [*folder.glob(f"_manifests/{algorithm}/{hexadecimal}.*"), folder / "_blobs" / algorithm / hexadecimal]


def evict(folder: Path, digest: str) -> None:
    """As the cleanup begins. The bytes it removes under their lock, and not while they are in use: they stay here."""
    for name in names(folder, digest):
        with contextlib.suppress(FileNotFoundError):
            name.unlink()


@pytest.fixture
def forgetful(behind: Behind, tmp_path: Path) -> Iterator[Behind]:
    """The same cache behind an nginx that keeps no file open: each hit is a look and an open of its own."""

    def configure(address: str) -> str:
        socket = behind.access_log.with_name("http.sock")
        text = nginx.render(site(behind.cache, behind.upstream, socket, address, tmp_path / "access.log"))
        assert text.count(KEPT_OPEN) == 1
        return text.replace(KEPT_OPEN, "open_file_cache off;")

    server = Nginx(tmp_path / "nginx", configure)
    with Puller(server.url) as puller:
        yield replace(behind, nginx=server, direct=puller, access_log=tmp_path / "access.log")
    server.stop()


def test_pulls_go_on_while_everything_is_evicted_again_and_again(forgetful: Behind) -> None:
    behind, name = forgetful, forgetful.repository()
    image = make_image(behind.upstream, name, tag="1", layers=2, layer_size=64 * KiB)
    paths = [f"/v2/{name}/manifests/{image.digest}", *(f"/v2/{name}/blobs/{blob}" for blob in image.blobs)]
    assert [behind.direct.get(path).status for path in paths] == [200] * len(paths)
    [folder] = behind.cache.root.glob(f"repositories/127.*/{name}")
    finished = threading.Semaphore(0)

    def pull() -> list[str]:
        """What was wrong."""
        try:
            answers = [(path, behind.direct.get(path)) for _ in range(ROUNDS) for path in paths]
        finally:
            finished.release()
        return [f"{answer.status} {answer.body[:300]!r}" for path, answer in answers if not right(path, answer)]

    with ThreadPoolExecutor(CLIENTS) as pool:
        pulls = [pool.submit(pull) for _ in range(CLIENTS)]
        for _ in pulls:
            while not finished.acquire(timeout=PAUSE_SECONDS):
                for path in paths:
                    evict(folder, path.rpartition("/")[2])

    assert [each.result() for each in pulls] == [[]] * CLIENTS


def right(path: str, answer: Answer) -> bool:
    """Are these the bytes that the path names, all of them?"""
    return answer.status == 200 and digest_of(answer.body) == path.rpartition("/")[2]


def test_what_nginx_holds_open_is_not_what_the_name_means_now(behind: Behind) -> None:
    name = behind.repository()
    blob = behind.upstream.add_blob(random_bytes(64 * KiB, seed=9), name)
    [behind.direct.blob(blob, name) for _ in range(4)]
    [folder] = behind.cache.root.glob(f"repositories/127.*/{name}")
    evict(folder, blob)
    (behind.cache.root / "blobs" / "sha256" / blob[7:9] / blob[7:]).unlink()

    # From the descriptor, or fetched again: the digest's bytes in either case.
    assert {digest_of(behind.direct.blob(blob, name).body) for _ in range(4)} == {blob}


def test_a_file_that_goes_between_the_applications_answer_and_nginx_open(behind: Behind) -> None:
    name = behind.repository()
    data = random_bytes(64 * KiB, seed=10)
    blob = behind.upstream.add_blob(data, name)
    behind.direct.blob(blob, name)
    file = behind.cache.root / "blobs" / "sha256" / blob[7:9] / blob[7:]
    # The repository's own name of the bytes stays, and by that the application finds them.
    file.rename(file.with_name("gone"))

    answer = behind.direct.get(f"/v2/{name}/blobs/{blob}?ns=DOCKER.IO", {"Range": "bytes=5-9"})

    assert (answer.status, answer.body) == (206, data[5:10])
    assert answer.headers["X-Cache"] == "hit"
    assert len(answer.headers.get_all("Accept-Ranges", [])) == len(answer.headers.get_all("X-Cache", [])) == 1
    assert behind.passed_on(answer) == "206 : 206"
