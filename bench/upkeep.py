"""Pulls during a hundred cleanups in a row, and the bytes that an import copies.

    python -m bench.upkeep [--quick] [--cleanups 100] [--folder DIR]

1. Four clients pull whole images at random and compare every digest, while `registry-cache cleanup` runs again and
   again and evicts all that was not used within the last seconds.
2. `registry-cache import` of a storage folder of CNCF Distribution, on the same file system as the store.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import tempfile
import threading
import time
from pathlib import Path

from bench.figures import MIB, serve
from tests.harness.content import digest_of
from tests.harness.images import Image, KiB, MiB, make_image
from tests.harness.import_rig import OldRegistry
from tests.harness.pullers import Puller

CLIENTS = 4
IMAGES = 300


def pulls_during_cleanups(cleanups: int, folder: str | None) -> str:
    # All that was not used for a second would go; what was used within five is spared in any case.
    with serve(folder, config={"proxy": {"ttl": "1s"}}) as (upstream, cache, puller):
        images = [make_image(upstream, f"team/app{n}", layers=2, layer_size=64 * KiB, seed=n) for n in range(IMAGES)]
        over, evicted, slowest = threading.Event(), 0, 0.0
        counts = [[0, 0] for _ in range(CLIENTS)]

        def client(number: int) -> None:
            chance = random.Random(number)
            while not over.is_set():
                image = images[min(int(chance.paretovariate(0.5)) - 1, IMAGES - 1)]
                counts[number][0] += 1
                counts[number][1] += not is_pull_right(puller, image)

        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        began = time.monotonic()
        for each in clients:
            each.start()
        try:
            for _ in range(cleanups):
                began_one = time.monotonic()
                done = cache.run("cleanup", "--json")
                assert done.returncode == 0, done.stderr
                evicted += json.loads(done.stdout)["evicted"]["blobs"]
                slowest = max(slowest, time.monotonic() - began_one)
        finally:
            over.set()
            for each in clients:
                each.join()
        pulls, failed = (sum(column) for column in zip(*counts, strict=True))
        return (
            f"{cleanups} cleanups in a row in {time.monotonic() - began:.0f} s (the slowest {slowest:.1f} s), "
            f"{evicted} blobs evicted: {pulls} pulls of whole images meanwhile, {failed} failed"
        )


def is_pull_right(puller: Puller, image: Image) -> bool:
    """Pull an image and compare all of it."""
    try:
        manifest = puller.manifest("1", image.repository)
        blobs = [digest_of(puller.blob(blob, image.repository).body) for blob in image.blobs]
    except OSError:
        return False
    return manifest.body == image.manifest and blobs == list(image.blobs)


def import_copies(images: int, folder: str | None) -> str:
    with tempfile.TemporaryDirectory(prefix="upkeep-", dir=folder) as name, serve(folder) as (_, cache, _):
        old = OldRegistry(Path(name))
        for n in range(images):
            old.image(f"team/app{n}", layers=3, layer_size=8 * MiB, compression="", seed=n)
        there = files(old.root)
        done = cache.run("import", str(old.folder), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        here = files(cache.root / "blobs")
        shared, own = here.keys() & there.keys(), here.keys() - there.keys()
        return (
            f"import of a Distribution folder of {images} images, {sum(there.values()) / MIB:.0f} MiB, "
            f"in {told['seconds']:.1f} s: {told['tags']} tags; {sum(here[each] for each in shared) / MIB:.0f} MiB "
            f"share their inodes with it, {sum(here[each] for each in own)} bytes copied (it says {told['copied']})"
        )


def files(root: Path) -> dict[int, int]:
    """Sizes of all blobs below a folder, by inode."""
    found = {}
    for path in root.rglob("*"):
        # A link file of Distribution's is not a blob.
        if path.is_file() and path.name != "link":
            with contextlib.suppress(FileNotFoundError):
                found[path.stat().st_ino] = path.stat().st_size
    return found


def main() -> None:
    """Print a line per figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ten cleanups, and two images")
    parser.add_argument("--cleanups", type=int)
    parser.add_argument("--images", type=int, help="of 24 MiB, to import; else 20")
    parser.add_argument("--folder", help="on which disk; else TMPDIR's")
    given = parser.parse_args()
    print(pulls_during_cleanups(given.cleanups or (10 if given.quick else 100), given.folder), flush=True)
    print(import_copies(given.images or (2 if given.quick else 20), given.folder))


if __name__ == "__main__":
    main()
