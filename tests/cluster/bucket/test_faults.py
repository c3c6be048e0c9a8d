"""What becomes of pulls and of the outbox while the bucket is away, silent, full, wrong, or dies in the middle."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import OutboxState
from registry_cache.upkeep.bucket_text import BucketStatus, read_bucket
from tests.harness.ceph import Ceph, TestBucket
from tests.harness.content import APP
from tests.harness.fixture_types import MakeCache, MakePuller
from tests.harness.images import KiB, MiB, make_image, random_bytes
from tests.harness.server import CacheServer
from tests.harness.sharing import all_is_sent, outcome, pull_image, senders, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream
from tests.harness.valve import Valve
from tests.harness.waiting import eventually

MakeValve = Callable[..., Valve]


def status(cache: CacheServer) -> Any:
    """What `status` says of the bucket."""
    return json.loads(cache.run("status", "--json").stdout)["bucket"]


def test_away_and_back(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, layer_size=300 * KiB)
    one = make_cache(sharing(bucket.settings))
    bucket.ceph.kill_gateway()
    try:
        assert set(pull_image(make_puller(one.url), image)) == {"miss"}
        eventually(lambda: "the bucket takes nothing" in one.log_text())
        ready = make_puller(one.url).get("/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "ok")
        assert not all_is_sent(one)
        away = status(one)
        assert (away["state"], away["outbox"]["entries"] > 0) == ("away", True)
    finally:
        bucket.ceph.start_gateway()
    began = time.monotonic()

    wait_until_sent(one)

    assert time.monotonic() - began < 60
    assert object_keys.blob(Digest.parse(image.layers[0])) in bucket.all_keys()
    eventually(lambda: read_bucket(Layout(one.root), "") == BucketStatus("", OutboxState(0, None), None))
    assert one.log_text().count("the bucket takes nothing") == one.log_text().count("the bucket takes again") == 1


def test_silence_costs_a_bounded_wait_and_then_none(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    first, second = upstream.add_blob(random_bytes(MiB, 1)), upstream.add_blob(random_bytes(MiB, 2))
    puller = make_puller(make_cache(sharing(bucket.settings), workers=1).url)
    assert puller.get("/healthz").status == 200
    bucket.ceph.pause_gateway()
    try:
        slow, quick = puller.start_blob(APP, first).finish(), puller.start_blob(APP, second).finish()
    finally:
        bucket.ceph.resume_gateway()

    assert (slow.digest, quick.digest) == (first, second)
    assert slow.seconds < 8
    assert quick.seconds < slow.seconds - 3


def test_a_gateway_that_dies_in_the_middle_is_no_error(
    bucket: TestBucket,
    upstream: FakeUpstream,
    make_cache: MakeCache,
    make_puller: MakePuller,
    make_valve: MakeValve,
) -> None:
    data = random_bytes(12 * MiB, seed=4)
    blob = upstream.add_blob(data)
    one = make_cache(sharing(bucket.settings))
    make_puller(one.url).start_blob(APP, blob).finish()
    eventually(lambda: bucket.read(object_keys.blob(Digest.parse(blob))))
    wait_until_sent(one)
    valve = make_valve(bucket.ceph.url, hold_at=6 * MiB)
    two = make_cache(sharing({**bucket.settings, "regionendpoint": valve.url}))

    pulls = [make_puller(two.url).start_blob(APP, blob) for _ in range(4)]
    assert valve.reached.wait(40)
    bucket.ceph.kill_gateway()
    try:
        valve.open()
        valve.cut()
        results = [pull.finish() for pull in pulls]
    finally:
        bucket.ceph.start_gateway()

    assert {(each.status, each.digest) for each in results} == {(200, blob)}
    assert "near" in {each.headers["X-Cache"] for each in results}
    # The registry was asked for the rest alone.
    assert len(data) < upstream.bytes_sent(blob) < 2 * len(data)


def test_a_gateway_that_comes_back_serves_the_rest_while_the_registry_is_down(
    bucket: TestBucket,
    upstream: FakeUpstream,
    make_cache: MakeCache,
    make_puller: MakePuller,
    make_valve: MakeValve,
) -> None:
    image = make_image(upstream, layers=1, layer_size=12 * MiB, compression="")
    one = make_cache(sharing(bucket.settings))
    pull_image(make_puller(one.url), image)
    eventually(lambda: bucket.read(object_keys.blob(Digest.parse(image.layers[0]))))
    wait_until_sent(one)
    upstream.stop()
    valve = make_valve(bucket.ceph.url, hold_at=6 * MiB)
    two = make_cache(sharing({**bucket.settings, "regionendpoint": valve.url}))

    pull = make_puller(two.url).start_blob(APP, image.layers[0])
    assert valve.reached.wait(40)
    valve.open()
    valve.cut()

    assert pull.finish().digest == image.layers[0]


def test_wrong_bytes_are_completed_by_nobody_and_deleted(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, layers=1, layer_size=4 * MiB, compression="")
    layer = image.layers[0]
    key = object_keys.blob(Digest.parse(layer))
    one = make_cache(sharing(bucket.settings))
    pull_image(make_puller(one.url), image)
    wait_until_sent(one)
    right = bucket.read(key)
    assert right
    bucket.write(key, b"?" + right[1:])
    upstream.forget()

    two = make_cache(sharing(bucket.settings))
    pulls = [make_puller(two.url).start_blob(APP, layer) for _ in range(5)]
    results = [pull.finish() for pull in pulls]

    # Who read along is cut, who came later is served: nobody has wrong bytes and takes them for all.
    assert {each.digest for each in results if each.complete} <= {layer}
    assert make_puller(two.url).start_blob(APP, layer).finish().digest == layer
    assert upstream.gets(layer) == 1
    wait_until_sent(two)
    assert bucket.read(key) == right
    assert "the bucket has wrong bytes" in two.log_text()


def test_a_wrong_manifest_is_deleted_and_fetched(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream)
    one = make_cache(sharing(bucket.settings))
    pull_image(make_puller(one.url), image)
    wait_until_sent(one)
    [key] = [key for key in bucket.all_keys() if "/_manifests/" in key]
    bucket.write(key, b"{}")

    two = make_cache(sharing(bucket.settings))
    answer = make_puller(two.url).manifest("1")

    assert (outcome(answer), answer.body) == ("miss", image.manifest)
    wait_until_sent(two)
    assert bucket.read(key) == image.manifest


def test_a_full_bucket_costs_no_pull_and_gets_everything_once_there_is_room(
    object_store: Ceph, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream, layer_size=900 * KiB)
    bucket = object_store.small_bucket(4 * MiB)
    bucket.write("of somebody else", bytes(4 * MiB))
    one = make_cache(sharing(bucket.settings))

    assert set(pull_image(make_puller(one.url), image)) == {"miss"}
    eventually(lambda: "QuotaExceeded" in one.log_text())
    assert not all_is_sent(one)
    bucket.remove("of somebody else")

    wait_until_sent(one)
    assert set(pull_image(make_puller(make_cache(sharing(bucket.settings)).url), image)) == {"near"}


def test_wrong_keys_are_like_a_bucket_that_is_away(
    bucket: TestBucket, upstream: FakeUpstream, make_cache: MakeCache, make_puller: MakePuller
) -> None:
    image = make_image(upstream)
    one = make_cache(sharing({**bucket.settings, "secretkey": "another"}))

    assert set(pull_image(make_puller(one.url), image)) == {"miss"}

    assert "403 SignatureDoesNotMatch" in one.log_text()
    assert bucket.all_keys() == []


def test_a_sender_that_is_killed_loses_nothing(
    bucket: TestBucket,
    upstream: FakeUpstream,
    make_cache: MakeCache,
    make_puller: MakePuller,
    make_valve: MakeValve,
) -> None:
    image = make_image(upstream)
    valve = make_valve(bucket.ceph.url, hold_at=0)
    one = make_cache(sharing({**bucket.settings, "regionendpoint": valve.url}))
    assert set(pull_image(make_puller(one.url), image)) == {"miss"}
    assert valve.reached.wait(40)
    eventually(lambda: senders(one))

    for pid in senders(one):
        os.kill(pid, signal.SIGKILL)
    assert not all_is_sent(one)
    valve.open()
    wait_until_sent(one)

    assert {object_keys.blob(Digest.parse(digest)) for digest in image.blobs} <= set(bucket.all_keys())
