"""An upstream for one test, behind a server that many tests share."""

from __future__ import annotations

from dataclasses import dataclass

from tests.harness.content import APP
from tests.harness.pullers import Answer, Pull, Puller
from tests.harness.server import CacheServer
from tests.harness.upstream import FakeUpstream


@dataclass
class Story:
    """``upstream`` is known to ``cache`` as ``name``, which is the first segment of each path."""

    name: str
    upstream: FakeUpstream
    cache: CacheServer
    puller: Puller
    log_begins: int

    @property
    def app(self) -> str:
        return f"{self.name}/{APP}"

    def manifest(self, reference: str) -> Answer:
        return self.puller.manifest(reference, self.app)

    def blob(self, digest: str) -> Answer:
        return self.puller.blob(digest, self.app)

    def start_blob(self, digest: str) -> Pull:
        return self.puller.start_blob(self.app, digest)

    def log(self) -> str:
        """What the server has logged since this test began."""
        return self.cache.log_text()[self.log_begins :]


class Slots:
    """Upstreams that no test has used yet."""

    def __init__(self, cache: CacheServer, free: dict[str, list[tuple[str, FakeUpstream]]]) -> None:
        self.cache = cache
        self._free = free

    def take(self, kind: str) -> tuple[str, FakeUpstream]:
        assert self._free[kind], f"more {kind} stories than slots"
        return self._free[kind].pop()
