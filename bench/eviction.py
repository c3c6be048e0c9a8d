"""How well the store keeps its size, and what that costs in hits.

    python -m bench.eviction [--quick] [--times 20] [--folder DIR]

1. A real server with ``storage.max_size``, real clients that pull images at random for twenty times that size, and
   nobody runs ``cleanup``: how far over its size the store ever was.
2. The same kind of workload at a pull a minute on a clock of its own, through the shipped cleanup over real files:
   hit ratio, beside a least-recently-used list of blobs with the same room that is exact to the byte and the pull.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import MIB, serve
from registry_cache.oci.digest import Digest
from registry_cache.oci.manifest import parse_manifest
from registry_cache.oci.media_types import OCI_MANIFEST
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.policy.eviction import LOW_MARK, Bounds
from registry_cache.store.record_format import TagRecord
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness.images import Image, KiB, make_image
from tests.harness.pullers import Puller
from tests.harness.store_rig import HUB, Store, open_store

SIZE = 64 * MIB
TIMES = 20
CLIENTS = 4


def stored_bytes(root: Path) -> int:
    """Bytes of blobs and of what is on its way."""
    total = 0
    for path in (*root.glob("blobs/*/*/*"), *root.glob("partial/*/*")):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def measure_size(times: int, folder: str | None) -> str:
    with serve(folder, config={"storage": {"max_size": SIZE}}) as (upstream, cache, puller):
        images = [
            make_image(upstream, f"team/app{n}", layers=3, layer_size=512 * KiB, seed=n, compression="")
            for n in range(150)
        ]
        per_image = 3 * (512 + 10) * KiB
        chance = random.Random(3)
        order = [
            images[min(int(chance.paretovariate(0.8)) - 1, len(images) - 1)] for _ in range(times * SIZE // per_image)
        ]
        worst, over = 0, threading.Event()

        def watch() -> None:
            nonlocal worst
            while not over.wait(0.02):
                worst = max(worst, stored_bytes(cache.root))

        watcher = threading.Thread(target=watch)
        watcher.start()
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            failed = sum(pool.map(lambda image: pull_image(puller, image), order))
        seconds = time.monotonic() - began
        over.set()
        watcher.join()
        beyond = max(0, worst - SIZE)
        return (
            f"max_size {SIZE // MIB} MiB, {len(order)} pulls of {per_image / MIB:.1f} MiB in {seconds:.0f} s, "
            f"{failed} failed: at most {worst / MIB:.1f} MiB stored, {100 * beyond / SIZE:.1f} % over "
            f"(2 % and one image: {100 * (0.02 * SIZE + per_image) / SIZE:.1f} %)"
        )


def pull_image(puller: Puller, image: Image) -> int:
    """Pull an image; 1 where anything of it was wrong."""
    answers = [puller.manifest("1", image.repository), *(puller.blob(blob, image.repository) for blob in image.blobs)]
    return int(any(answer.status != 200 for answer in answers))


@dataclass(frozen=True)
class SyntheticImage:
    """An image of the second part: its manifest's bytes, and its layers' digests and sizes."""

    repository: Repository
    data: bytes
    layers: tuple[tuple[Digest, int], ...]


def synthetic_images(count: int) -> Iterator[SyntheticImage]:
    """Images of three layers of their own, and one base of twenty that they share."""
    chance = random.Random(7)
    bases = [(Digest.of(b"base %d" % n), chance.randrange(20, 80) * KiB) for n in range(20)]
    for n in range(count):
        own = [(Digest.of(b"%d %d" % (n, each)), chance.randrange(1, 200) * KiB) for each in range(3)]
        layers = (bases[int(chance.paretovariate(1.0)) % 20], *own)
        parts = ",".join(f'{{"mediaType":"a/b","digest":"{digest}","size":{size}}}' for digest, size in layers)
        data = f'{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","layers":[{parts}]}}'.encode()
        yield SyntheticImage(Repository(f"team/app{n}"), data, layers)


class Shelf:
    """A store whose uses happen when we say. Layers are sparse files: only their sizes matter here."""

    def __init__(self, root: Path, room: int) -> None:
        self.store: Store = open_store(root)
        self.room = room
        self.stored = 0

    def pull(self, image: SyntheticImage, now: float) -> tuple[int, int]:
        """Return the bytes that were here, and all."""
        layout, moment = self.store.layout, int(now * 10**9)
        digest, name = Digest.of(image.data), FullName(HUB, image.repository)
        hits = 0
        if not os.path.exists(layout.blob(digest)):
            self.store.records.put_manifest(name, digest, image.data, parse_manifest(image.data, OCI_MANIFEST))
            then = datetime.fromtimestamp(now, UTC)
            record = TagRecord(digest, OCI_MANIFEST, len(image.data), then, then)
            self.store.records.put_tag(name, Tag("1"), record)
            self.stored += len(image.data)
        for layer, size in image.layers:
            if os.path.exists(layout.blob(layer)):
                hits += size
                self.store.blobs.grant(name, layer)
            else:
                self.add(image.repository, layer, size)
        for each in (digest, *(layer for layer, _ in image.layers)):
            os.utime(layout.blob(each), ns=(moment, moment))
        if self.stored > self.room:
            result = Cleanup(layout, Bounds(max_size=self.room), now + 30).run()
            assert result
            self.stored = result.stored - result.evicted_bytes
        return hits, sum(size for _, size in image.layers)

    def add(self, repository: Repository, layer: Digest, size: int) -> None:
        path = self.store.layout.blob(layer)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)
        self.store.blobs.grant(FullName(HUB, repository), layer)
        self.stored += size


class LeastRecentlyUsed:
    """Least recently used over blobs, exact."""

    def __init__(self, room: int) -> None:
        self.room, self.stored = room, 0
        self.blobs: OrderedDict[Digest, int] = OrderedDict()

    def pull(self, image: SyntheticImage) -> int:
        hits = 0
        for layer, size in image.layers:
            if layer in self.blobs:
                hits += size
                self.blobs.move_to_end(layer)
            else:
                self.blobs[layer] = size
                self.stored += size
        while self.stored > self.room:
            self.stored -= self.blobs.popitem(last=False)[1]
        return hits


def hit_ratios(root: Path, times: int) -> str:
    images = list(synthetic_images(600))
    everything = sum(dict(layer for image in images for layer in image.layers).values())
    room = everything // 10
    ours, plain, least = Shelf(root, room), LeastRecentlyUsed(room), LeastRecentlyUsed(int(room * LOW_MARK))
    hits = {"ours": 0, "plain": 0, "least": 0}
    pulled = pulls = 0
    chance = random.Random(11)
    clock = 1_700_000_000.0
    while pulled < times * room:
        image = images[int(chance.paretovariate(0.7)) % len(images)]
        clock += 60.0
        here, size = ours.pull(image, clock)
        hits["ours"] += here
        hits["plain"] += plain.pull(image)
        hits["least"] += least.pull(image)
        pulled += size
        pulls += 1
    told = {name: 100 * count / pulled for name, count in hits.items()}
    return (
        f"{pulls} pulls, {pulled / room:.0f} times a room of a tenth of all images: bytes hit {told['ours']:.1f} %; "
        f"plain LRU over blobs {told['plain']:.1f} %, with {100 * LOW_MARK:.0f} % of the room {told['least']:.1f} %"
    )


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three times the size instead of twenty")
    parser.add_argument("--times", type=int, help="how many times the size is pulled; else 20")
    parser.add_argument("--folder", help="on which disk; else TMPDIR's")
    given = parser.parse_args()
    times = given.times or (3 if given.quick else TIMES)
    print(measure_size(times, given.folder), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=given.folder) as folder:
        print(hit_ratios(Path(folder), times))


if __name__ == "__main__":
    main()
