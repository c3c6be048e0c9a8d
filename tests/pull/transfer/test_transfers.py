"""Which transfer a reader joins, and what becomes of one that has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from registry_cache.errors import UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.pull.source import BlobSource
from registry_cache.pull.transfer import transfers as transfers_module
from registry_cache.pull.transfer.abandoned import MAX_PER_CLIENT
from registry_cache.pull.transfer.transfer import TransferParts
from registry_cache.pull.transfer.transfers import Transfers
from registry_cache.store.blobs import Blobs
from registry_cache.store.layout import Layout
from registry_cache.store.partial_downloads import Partials
from tests.harness.store_rig import HUB_APP

CLIENT = "10.0.0.1"


class _Stuck:
    """Stands in for a transfer whose thread has not come to its end yet."""

    may_end = threading.Event()

    def __init__(self, *_: Any, **_options: Any) -> None: ...

    def run(self, _wanted: Callable[[], bool]) -> None:
        self.may_end.wait(20)


def source() -> BlobSource:
    def ask(start: int, again: bool, stop: int | None = None) -> Any:
        raise UpstreamUnavailable("nobody asks")

    return BlobSource(HUB_APP, ask)


def test_a_new_transfer_is_not_taken_for_an_abandoned_one_that_has_just_ended(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers_module, "Transfer", _Stuck)
    transfers = Transfers(TransferParts(Blobs(layout), Partials(layout)))
    blobs = [Digest.of(b"%d" % number) for number in range(MAX_PER_CLIENT + 1)]

    abandoned = [transfers.join(blob, source(), CLIENT)[0] for blob in blobs[:-1]]
    for each in abandoned:
        transfers.leave(each)
    abandoned[0].fail(UpstreamUnavailable("cut"), None)
    followed, started = transfers.join(blobs[0], source(), CLIENT)
    one_more, _ = transfers.join(blobs[-1], source(), CLIENT)
    transfers.leave(one_more)

    assert started
    assert followed is not abandoned[0]
    assert not followed.is_given_up
    assert transfers.join(blobs[0], source(), CLIENT) == (followed, False)
    _Stuck.may_end.set()
