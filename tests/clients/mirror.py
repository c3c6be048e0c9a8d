"""What the clients pull from: the product, in front of registries that let nobody in without a token."""

import itertools
import platform
from dataclasses import dataclass
from typing import Any

from tests.harness.images import Image, Index, KiB, Kind, make_index
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream

HUB = "docker.io"  # what the cache calls `upstream`, besides its address
OTHER = "registry.example"  # what it calls `other`
MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

# Of all mirrors together: what a daemon already has it does not pull, whoever it is from.
_seeds = itertools.count(1)


@dataclass
class Mirror:
    """One for nearly all client tests: a daemon is told of its mirror only when it starts.

    Each test has images of its own, in a repository of its own, so that what others pulled is of no help to it.
    """

    cache: CacheServer
    upstream: FakeUpstream
    other: FakeUpstream

    def add_index(
        self, kind: Kind, upstream: FakeUpstream | None = None, repository: str | None = None, **image: Any
    ) -> Index:
        """Two platforms, three layers each, tag 1 (which moves, if it was there); nobody has asked for it yet."""
        seed = next(_seeds)
        repository = repository or f"library/app{seed}"
        image = {"layer_size": 256 * KiB, "seed": seed} | image
        return make_index(upstream or self.upstream, repository, kind=kind, **image)

    def mend(self) -> None:
        """The upstreams behave from now on; and they ask for tokens."""
        for upstream in (self.upstream, self.other):
            upstream.reset_faults()
            upstream.faults.require_token = True


def native(index: Index) -> Image:
    """The image that a client on this machine chooses."""
    return next(image for image in index.images if image.platform == MACHINES[platform.machine()])
