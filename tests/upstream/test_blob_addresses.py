"""Where the registry sent us for a blob is asked for its next ranges, and for nothing else."""

from __future__ import annotations

import pytest

from registry_cache.errors import NotFound, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.upstream import blob_addresses
from registry_cache.upstream.blob_addresses import GOOD_SECONDS, BlobAddresses
from registry_cache.upstream.client import Upstream
from registry_cache.upstream.credentials.account import Credentials
from tests.harness.cdn import FakeCdn
from tests.harness.fixture_types import MakeUpstream
from tests.harness.images import random_bytes
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import APP, OTHER
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect, read_all
from tests.harness.wire import Reply

DATA = random_bytes(100_000, seed="addresses")
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)


@pytest.fixture
def registry(upstream: FakeUpstream, cdn: FakeCdn) -> Upstream:
    """It wants a token, which the content server must not see: that fails the test then."""
    upstream.add_blob(DATA)
    upstream.faults.redirect_blobs_to, upstream.faults.require_token = cdn, True
    return connect(upstream.url, Credentials("me", "secret"), private_redirects=True)


def part(registry: Upstream, start: int, stop: int, repository: Repository = APP) -> bytes:
    body = registry.open_blob(repository, DIGEST, start, stop)
    try:
        return read_all(body)
    finally:
        body.close()


def test_ranges_behind_the_first_cost_the_registry_nothing(
    upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn
) -> None:
    for start in (90_000, 5, 40_000):
        assert part(registry, start, start + 100) == DATA[start : start + 100]
    assert (upstream.gets(NAME), cdn.gets(NAME)) == (1, 3)
    # A beginning may be that of a new try, after wrong bytes.
    assert part(registry, 0, 100) == DATA[:100]
    assert upstream.gets(NAME) == 2


def test_an_address_that_is_refused_is_asked_for_anew(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    part(registry, 1, 2)
    part(registry, 2, 3)
    cdn.expire()
    for start in (10, 20):
        assert part(registry, start, start + 5) == DATA[start : start + 5]
    # Refused once, and not tried again.
    assert (upstream.gets(NAME), cdn.gets(NAME)) == (2, 5)


def test_addresses_that_are_good_once_are_not_tried_twice_each(
    upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn
) -> None:
    cdn.one_use = True
    for start in range(10, 60, 10):
        assert part(registry, start, start + 5) == DATA[start : start + 5]
    assert (upstream.gets(NAME), cdn.gets(NAME)) == (5, 6)


def test_what_wants_an_authorization_of_its_own_is_not_remembered(
    upstream: FakeUpstream, make_upstream: MakeUpstream
) -> None:
    """As where one host name redirects to another registry (P75)."""
    other = make_upstream()
    for each in (upstream, other):
        each.add_blob(DATA)
    other.faults.require_token = True
    upstream.faults.redirect_to = f"{other.url}/v2/{APP}/blobs/{{digest}}"
    registry = connect(upstream.url, private_redirects=True)
    for start in (10, 20):
        assert part(registry, start, start + 5) == DATA[start : start + 5]
    # The first time with a 401 between.
    assert upstream.gets(NAME) >= 2
    assert all("Authorization" in each.headers for each in other.asked("GET", NAME)[1:])


@pytest.mark.parametrize("status", [200, 302, 401, 416, 500])
def test_an_answer_that_is_no_part_is_none(
    upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn, status: int
) -> None:
    part(registry, 1, 2)
    cdn.status, cdn.challenge = (status, None) if status != 401 else (200, 'Basic realm="x"')
    upstream.faults.redirect_blobs_to = None
    assert part(registry, 10, 15) == DATA[10:15]


def test_another_range_than_was_asked_for_is_none(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    part(registry, 1, 2)
    cdn.answer = lambda exchange: Reply(206, [("Content-Range", f"bytes 11-15/{len(DATA)}")], DATA[11:16])  # type: ignore[method-assign]
    upstream.faults.redirect_blobs_to = None
    assert part(registry, 10, 15) == DATA[10:15]


def test_it_is_no_other_repository_s(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    part(registry, 1, 2)
    with pytest.raises(NotFound):
        part(registry, 10, 15, OTHER)
    assert cdn.gets(NAME) == 1


def test_it_is_no_other_account_s(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    part(registry, 1, 2)
    registry.transport.auth.account.name = "somebody else"
    assert part(registry, 10, 15) == DATA[10:15]
    assert upstream.gets(NAME) == 2


def test_it_is_good_for_a_minute_from_when_it_was_given(
    upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn
) -> None:
    clock = Clock()
    registry.addresses = BlobAddresses(clock)
    part(registry, 1, 2)
    clock.now += GOOD_SECONDS - 1
    part(registry, 10, 15)
    assert upstream.gets(NAME) == 1
    clock.now += 2
    part(registry, 10, 15)
    assert upstream.gets(NAME) == 2


def test_one_that_breaks_off_is_not_asked_again(upstream: FakeUpstream, registry: Upstream, cdn: FakeCdn) -> None:
    part(registry, 1, 2)
    upstream.faults.cut_after = [100]
    with pytest.raises(UpstreamUnavailable):
        part(registry, 10, 5000)
    assert part(registry, 110, 5000) == DATA[110:5000]
    assert upstream.gets(NAME) == 2


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_addresses, "_MOST_REMEMBERED", 2)
    known = BlobAddresses(Clock())
    address = blob_addresses.BlobAddress("https://cdn.example.com/x", frozenset())
    digests = [Digest.of(bytes([number])) for number in range(3)]
    for digest in digests:
        known.remember(("", APP, digest), address)
    assert [known.find(("", APP, digest)) for digest in digests] == [None, address, address]
