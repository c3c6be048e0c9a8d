"""The cache that clients pull from, in front of registries that require a token."""

import itertools
import json
import platform
from dataclasses import dataclass
from typing import Any

from registry_cache.store.atomic_write import write_whole
from tests.harness.images import Image, Index, KiB, Kind, make_index
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

HUB = "docker.io"  # the name of `upstream` in the cache, besides its address
OTHER = "registry.example"  # the name of `other`
MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

# Unique over all mirrors: a daemon does not pull a layer it already has, wherever that came from.
_seeds = itertools.count(1)


@dataclass
class Mirror:
    """Nearly all client tests share one, because a daemon learns of its mirror only when it starts.

    Each test has images of its own, in a repository of its own, so that what others pulled is of no help to it.
    """

    cache: CacheServer
    upstream: FakeUpstream
    other: FakeUpstream

    def add_index(
        self, kind: Kind, upstream: FakeUpstream | None = None, repository: str | None = None, **image: Any
    ) -> Index:
        """An index of two images with three layers each. Tag 1 is made, or moved; nothing of it is cached yet."""
        seed = next(_seeds)
        repository = repository or f"library/app{seed}"
        image = {"layer_size": 256 * KiB, "seed": seed} | image
        return make_index(upstream or self.upstream, repository, kind=kind, **image)

    def setup(self, client: str) -> dict[str, str]:
        """What `registry-cache setup` says for a client: texts by the files that they go into, and "" what to type."""
        done = self.cache.run("setup", client, "--json", "--url", self.cache.url)
        return {step["file"]: step["text"] for step in json.loads(done.stdout)["steps"]}

    def mend(self) -> None:
        """Remove all faults from the upstreams, require tokens, and let nothing rest that was wrong (ADR 0019)."""
        for upstream in (self.upstream, self.other):
            upstream.reset_faults()
            upstream.faults.require_token = True
        for note in self.cache.root.glob("upstreams/*.json"):
            known = json.loads(note.read_bytes())
            if known.pop("wrong", None):
                write_whole(str(note), json.dumps(known).encode())


def native(index: Index) -> Image:
    """The image that a client on this machine chooses."""
    return next(image for image in index.images if image.platform == MACHINES[platform.machine()])
