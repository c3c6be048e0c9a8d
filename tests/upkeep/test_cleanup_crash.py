"""A cleanup may be killed at any change of the disk: what it left is right and whole, and the next pass ends it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registry_cache.errors import ManifestUnknown
from registry_cache.oci.digest import Digest
from registry_cache.oci.media_types import OCI_MANIFEST
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.oci.pattern import ImagePattern
from registry_cache.policy.eviction import Bounds
from registry_cache.store.audit.fault import Fault
from registry_cache.store.audit.walk import AuditWalk
from registry_cache.store.download_status import failed_status
from registry_cache.store.pins import Pin, Pins
from registry_cache.store.record_format import TagRecord
from registry_cache.store.repositories import repositories
from registry_cache.store.size_ledger import SizeLedger
from registry_cache.upkeep.cleanup import Cleanup
from tests.harness.cleanup_rig import DAY, HOUR, NOW, Shelf
from tests.harness.programs import succeed
from tests.harness.store_rig import APP, HUB, HUB_APP, HUB_OTHER, OTHER, Store, open_store
from tests.upkeep import cleanup_crasher

WEEK = 7 * DAY
# So much less than the template holds that all goes that may.
SIZE = 15_000
# What is removed, by ``kind``.
KINDS = {
    *("blobs", "partial", "locks", "quarantine"),
    *("_tags", "_manifests", "_blobs", "_referrers"),
    "empty",
    ".1-0",
}
EMPTY = Repository.parse("library/empty")
PINS = [Pin(HUB, ImagePattern.parse(f"{APP}:pinned"))]


@dataclass
class Template:
    """What every killed pass begins with; ``kept``: blobs that no pass may take."""

    shelf: Shelf
    kept: set[Digest]

    def images(self) -> None:
        """Some that go and some that stay, with layers that both have; one is used by its pin alone."""
        shelf = self.shelf

        def layer(letter: str, *names: Repository, algorithm: str = "sha256") -> Digest:
            return shelf.layer(letter.encode() * 3000, *names, ago=30 * DAY, algorithm=algorithm)

        shared, pinned = layer("s", APP, OTHER), [layer("p"), layer("q", algorithm="sha512")]
        old = shelf.image(shared, layer("o"), tag="old", ago=30 * DAY)
        shelf.index(old, shelf.image(layer("a"), ago=20 * DAY), tag="latest", ago=20 * DAY)
        shelf.image(shared, layer("b", OTHER), repository=OTHER, tag="old", ago=25 * DAY)
        image = shelf.image(shared, repository=OTHER, ago=30 * DAY)
        index = shelf.index(image, repository=OTHER, tag="new", ago=DAY)
        promised = shelf.image(*pinned, ago=40 * DAY)
        promise = shelf.index(promised, tag="pinned", ago=40 * DAY)
        assert Pins(shelf.layout).add(PINS)
        self.kept = {shared, image, index, promised, promise, *pinned}
        for number in (1, 2):
            self.shelf.store.records.put_referrers(HUB_APP, shared if number == 1 else old, b"{}")
        aged(shelf.layout.referrers(HUB_APP, old), 30 * DAY)
        # Asked for long ago and never pulled.
        then = datetime.fromtimestamp(NOW - 30 * DAY, UTC)
        record = TagRecord(Digest.of(b"never here"), OCI_MANIFEST, 10, then, then)
        shelf.store.records.put_tag(HUB_OTHER, Tag.parse("unpulled"), record)

    def leftovers(self) -> None:
        """Of downloads, of writers and of a pass that died."""
        layout = self.shelf.layout
        orphan, refused = Digest.of(b"orphan"), Digest.of(b"refused")
        claim = self.shelf.store.partials.claim(refused)
        assert claim
        with claim:
            claim.publish(failed_status(HUB_APP, ManifestUnknown("upstream has none")))
        unnamed = self.shelf.image(self.shelf.layer(b"u" * 100, ago=30 * DAY), ago=30 * DAY)
        os.unlink(layout.manifest(HUB_APP, unnamed, "json"))
        day = Path(layout.quarantine, "2020-01-01")
        day.mkdir(parents=True)
        upstreams = Path(layout.upstream_note(HUB)).parent
        upstreams.mkdir()
        blob = Path(layout.blob(orphan)).parent
        blob.mkdir(exist_ok=True)
        litter = [Path(layout.partial(orphan)), Path(layout.status(orphan)), Path(layout.lock(orphan))]
        litter += [Path(layout.flight("asked")), day / f"sha256-{orphan.hex}-1", day / f"sha256-{orphan.hex}-1.json"]
        folders = [Path(layout.root), upstreams, blob, Path(layout.tags(HUB_APP)), Path(layout.partials, "sha256")]
        litter += [folder / ".1-0" for folder in folders]
        for path in litter:
            path.write_bytes(b"{}")
        for path in (*litter, Path(layout.status(refused))):
            aged(path, 3 * DAY)
        empty = Path(layout.repository(FullName(HUB, EMPTY)), "_blobs", "sha256")
        empty.mkdir(parents=True)
        for folder in (empty, empty.parent, empty.parent.parent):
            aged(folder, 3 * DAY)


def aged(path: str | Path, seconds: float) -> None:
    os.utime(path, (NOW - seconds, NOW - seconds))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    found = Template(Shelf(tmp_path_factory.mktemp("template") / "store"), set())
    found.images()
    found.leftovers()
    assert wrong(found.shelf.store) == []
    return found


def wrong(store: Store) -> list[Fault]:
    """Re-hash everything, by all its names, which is not a use of it."""
    faults: list[Fault] = []
    AuditWalk(store.layout, faults.append).run()
    return faults


def names(store: Store, under: str = "") -> set[str]:
    """Every file and folder."""
    root = Path(store.layout.root)
    return {str(path.relative_to(root)) for path in (root / under).rglob("*")}


def leads(store: Store) -> list[tuple[str, str]]:
    """Return (name, what it leads to) of all by which a client comes to something else that is here."""
    found = []
    for folder in (Path(each.path) for each in repositories(store.layout)):
        for path in folder.glob("_tags/[!.]*"):
            digest = Digest.parse(json.loads(path.read_bytes())["digest"])
            found += [(path, to) for to in folder.glob(f"_manifests/{digest.algorithm}/{digest.hex}.*")]
        # Those without a record as well: a web server in front needs none.
        for path in [*folder.glob("_manifests/*/*.oci-index"), *folder.glob("_manifests/*/*.oci-manifest")]:
            document = json.loads(cleanup_crasher.peek(path))
            for child in (*document.get("manifests", []), *document.get("layers", [])):
                digest = Digest.parse(child["digest"])
                found += [(path, to) for to in folder.glob(f"_[bm]*/{digest.algorithm}/{digest.hex}*")]
                found.append((path, Path(store.layout.blob(digest))))
    root = Path(store.layout.root)
    return [(str(name.relative_to(root)), str(to.relative_to(root))) for name, to in found]


def killed(template: Template, folder: Path, at_least: int, ttl: float | None, size: int | None) -> list[Store]:
    """The stores that passes left which were killed at the first, second, … moment; the last one lived."""
    given = json.dumps([NOW, ttl, size])
    command = [sys.executable, "-m", cleanup_crasher.__name__, str(template.shelf.root), str(folder), given]
    count = int(succeed(command, seconds=120))
    assert count > at_least
    return [open_store(folder / str(number)) for number in range(1, count + 1)]


def clean(store: Store, later: float, ttl: float | None, size: int | None = None) -> None:
    bounds = Bounds(None if ttl is None else timedelta(seconds=ttl), size)
    assert Cleanup(store.layout, bounds, NOW + later).run()


def stored(store: Store) -> int:
    return sum(path.stat().st_size for path in Path(store.layout.root, "blobs").rglob("*") if path.is_file())


def promised(template: Template) -> set[str]:
    """Every name of what no pass may take."""
    hexes = {digest.hex for digest in template.kept}
    found = {name for name in names(template.shelf.store) if Path(name).name.partition(".")[0] in hexes}
    tags = {f"repositories/{HUB}/{APP}/_tags/pinned.json", f"repositories/{HUB}/{OTHER}/_tags/new.json"}
    return found | tags | {"pins.json"}


@pytest.mark.parametrize(("ttl", "size"), [(WEEK, None), (None, SIZE)])
def test_at_any_step(
    template: Template, tmp_path: Path, ttl: float | None, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = killed(template, tmp_path, 150, ttl, size)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    pairs, kept, filled = leads(template.shelf.store), promised(template), names(template.shelf.store)
    *_, ended = stores
    assert {kind(name) for name in filled - names(ended)} == KINDS
    clean(ended, 2 * HOUR, ttl, size)
    left, states = names(ended), set()

    for store in stores:
        here = names(store)
        states.add(frozenset(here))
        assert wrong(store) == []
        assert here >= kept
        for name, to in pairs:
            assert to in here or name not in here, f"{name} leads to {to}, which is gone"

        # The locks of the dead are litter by then.
        clean(store, 2 * HOUR, ttl, size)
        here = names(store)
        assert wrong(store) == []
        assert here >= left
        more = here - left
        # The bytes that it took may have been enough: then others that it meant to take stay, and no name leads there.
        assert not more or (size and stored(store) <= size and all(name.startswith("blobs/") for name in more))
        if more or store is ended:
            nothing_is_out_of_reach(store)
    assert len(states) > 60


def nothing_is_out_of_reach(store: Store) -> None:
    """Let everything go, pins included; folders go an hour after what was in them."""
    Pins(store.layout).remove(PINS)
    for later in (60 * DAY, 61 * DAY, 62 * DAY):
        clean(store, later, ttl=HOUR)
    assert store.files() == {"layout", "ledger", "last-cleanup", "pins.json"}
    assert names(store, "repositories") == set()
    assert SizeLedger(store.layout).total() == 0


def kind(name: str) -> str:
    """Return what sort of thing a name is, by its folder."""
    first, *rest = name.split("/")
    return next((part for part in rest if part.startswith(("_", ".", "empty"))), first)
