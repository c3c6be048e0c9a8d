"""Lists: a walk over all repositories is no turn of the loop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from unittest import mock

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository, Tag
from registry_cache.pull.listing import Listing
from registry_cache.pull.single_flight import MachineFlights
from registry_cache.runtime import threadpool
from registry_cache.store.record_format import TagRecord
from tests.harness.content import OCI_MANIFEST
from tests.harness.store_rig import HUB, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_catalog_is_walked_on_a_real_thread_and_no_further_than_its_page(store: Store) -> None:
    """Of sixty thousand repositories it took a worker a third of a second in which nobody else had a turn."""
    for number in range(50):
        repository = Repository.parse(f"team{number:02d}/app")
        store.records.put_tag(
            FullName(HUB, repository), Tag("1"), TagRecord(Digest.of(b""), OCI_MANIFEST, 1, NOW, NOW, None)
        )
    listing = Listing(store.records, MachineFlights(store.layout), mock.Mock())
    inside: list[bool] = []
    is_on_a_thread = False

    def run(function: Callable[..., object], *arguments: object) -> object:
        nonlocal is_on_a_thread
        is_on_a_thread = True
        try:
            return function(*arguments)
        finally:
            is_on_a_thread = False

    really = store.records.repositories

    def walk(upstream: str, after: str = "") -> object:
        for name in really(upstream, after):
            inside.append(is_on_a_thread)
            yield name

    with mock.patch.object(threadpool, "run", run), mock.patch.object(store.records, "repositories", walk):
        page = listing.catalog(HUB, 10, "team03/app")
    assert page.names == [f"team{number:02d}/app" for number in range(4, 14)]
    assert page.last == "team13/app"
    assert inside == [True] * 11
