"""Tests that every client must pass."""

import subprocess
import time
from typing import Protocol

import pytest

from tests.clients.mirror import HUB, OTHER, Mirror, native
from tests.harness.images import Image, Index, KiB, Kind, MiB
from tests.harness.waiting import eventually

# Without an answer to its TLS hello a client waits for ten seconds at every pull. The faster of two pulls is measured,
# as one may be slow because of other tests.
QUICK_SECONDS = 9.0


class Client(Protocol):
    """A client with its own storage. A name is HOST/REPOSITORY:TAG or …@DIGEST."""

    takes_zstd: bool

    def pull(self, name: str) -> subprocess.CompletedProcess[str]:
        """Pull, successfully or not: names of docker.io by the configured mirror, names of the cache by its address."""

    def has(self, name: str) -> bool:
        """Does the client list it?"""

    def remove(self, name: str) -> None:
        """Remove it with all its blobs."""

    def check(self, name: str, index: Index) -> None:
        """Hash what was pulled, without using the cache: it must be this machine's image of `index`."""


class PullStories:
    """Subclasses define the fixture `client`."""

    @pytest.fixture
    def client(self) -> Client:
        raise NotImplementedError

    @pytest.mark.parametrize(("kind", "by_address"), [("docker", False), ("oci", True)])
    def test_a_second_pull_costs_no_blob_and_no_counted_pull(
        self, mirror: Mirror, client: Client, kind: Kind, by_address: bool
    ) -> None:
        zstd = kind == "oci" and client.takes_zstd
        index = mirror.add_index(kind, compression="zstd" if zstd else "gzip")
        name = f"{mirror.cache.address if by_address else HUB}/{index.repository}:1"

        first = _pull(client, name)
        client.check(name, index)
        image = native(index)
        assert [mirror.upstream.gets(each) for each in (index.digest, image.digest, *image.blobs)] == [1] * 6
        assert [mirror.upstream.gets(layer) for layer in _other(index).layers] == [0] * 3

        client.remove(name)
        mirror.upstream.forget()
        assert min(first, _pull(client, name)) < QUICK_SECONDS
        client.check(name, index)
        assert mirror.upstream.requests("GET", "/blobs/") == []
        assert mirror.upstream.counted_pulls == 0
        assert mirror.upstream.heads("1") >= 1

    def test_what_was_pulled_by_digest_is_never_asked_for_again(self, mirror: Mirror, client: Client) -> None:
        index = mirror.add_index("oci")
        name = f"{HUB}/{index.repository}@{index.digest}"
        first = _pull(client, name)
        client.check(name, index)

        client.remove(name)
        mirror.upstream.forget()
        assert min(first, _pull(client, name)) < QUICK_SECONDS
        client.check(name, index)
        assert mirror.upstream.requests() == []

    def test_a_wrong_byte_is_refused(self, mirror: Mirror, client: Client) -> None:
        index = mirror.add_index("docker", layer_size=2 * MiB)
        name = f"{HUB}/{index.repository}:1"
        for layer in native(index).layers:
            mirror.upstream.faults.of(layer).corrupt_at = 1 * MiB
        assert client.pull(name).returncode != 0
        assert not client.has(name)

        mirror.mend()
        # Not at once: downloads that began before are still wrong, and what came wrong twice rests for a moment. And
        # containerd resumes what a failed pull left, right or wrong, and discards it only when it is complete.
        eventually(lambda: client.pull(name).returncode == 0)
        client.check(name, index)

    def test_a_cut_in_the_middle_of_a_blob_is_mended(self, mirror: Mirror, client: Client) -> None:
        index = mirror.add_index("docker", layer_size=2 * MiB)
        name = f"{HUB}/{index.repository}:1"
        for layer in native(index).layers:
            mirror.upstream.faults.of(layer).cut_after = [700 * KiB, 0]
        _pull(client, name)
        client.check(name, index)
        sizes = {layer: len(mirror.upstream.blob(index.repository, layer) or b"") for layer in native(index).layers}
        assert {layer: mirror.upstream.bytes_sent(layer) for layer in sizes} == sizes

    @pytest.mark.parametrize("mirror", ["its own"], indirect=True)
    def test_without_upstream_the_tag_means_what_was_pulled_last(self, mirror: Mirror, client: Client) -> None:
        old = mirror.add_index("docker")
        moves, stays = f"{HUB}/{old.repository}:1", mirror.add_index("oci")
        pulled = {f"{HUB}/{stays.repository}:1": stays, moves: old}
        for name in pulled:
            _pull(client, name)
            client.remove(name)
        pulled[moves] = mirror.add_index("docker", repository=old.repository)
        _pull(client, moves)
        client.remove(moves)

        mirror.upstream.stop()
        seconds = []
        for name, index in pulled.items():
            seconds.append(_pull(client, name))
            client.check(name, index)
            client.remove(name)
        assert min(seconds) < QUICK_SECONDS


class NamedRegistryStories(PullStories):
    """For clients that can pull from other registries than Docker Hub through the mirror, by path or by `?ns=`."""

    def test_the_registry_that_is_named_is_the_one_that_is_asked(self, mirror: Mirror, client: Client) -> None:
        index = mirror.add_index("oci", mirror.other)
        name = f"{OTHER}/{index.repository}:1"
        assert client.pull(name).returncode == 0
        client.check(name, index)
        assert mirror.upstream.requests() == []


def _pull(client: Client, name: str) -> float:
    """A pull that must succeed; the seconds that it took."""
    began = time.monotonic()
    result = client.pull(name)
    spent = time.monotonic() - began
    assert result.returncode == 0, result.stdout + result.stderr
    assert client.has(name)
    return spent


def _other(index: Index) -> Image:
    """The image for another kind of machine than this one."""
    return next(image for image in index.images if image != native(index))
