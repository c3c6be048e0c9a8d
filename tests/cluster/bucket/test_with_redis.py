"""Three nodes that share downloads over Redis, and what they have fetched in a bucket."""

from pathlib import Path
from random import Random

from tests.harness.ceph import TestBucket
from tests.harness.cluster_rig import Cluster
from tests.harness.content import APP
from tests.harness.images import MiB, make_image
from tests.harness.sharing import outcome, sharing, wait_until_sent
from tests.harness.upstream import FakeUpstream


def make_cluster(folder: Path, upstream: FakeUpstream, bucket: TestBucket) -> Cluster:
    return Cluster(folder, upstream.url, config=sharing(bucket.settings))


def test_a_herd_costs_one_download_and_one_object(bucket: TestBucket, upstream: FakeUpstream, tmp_path: Path) -> None:
    blob = upstream.add_blob(Random(1).randbytes(8 * MiB))
    cluster = make_cluster(tmp_path, upstream, bucket)
    try:
        cluster.wait_until_ready()
        pulls = [puller.start_blob(APP, blob) for puller in cluster.pullers for _ in range(10)]
        assert [pull.finish().digest for pull in pulls] == [blob] * 30
        assert upstream.bytes_sent(blob) == 8 * MiB
        for node in cluster.nodes:
            wait_until_sent(node)
    finally:
        cluster.stop()


def test_emptied_nodes_serve_an_image_from_the_bucket_while_the_registry_is_down(
    bucket: TestBucket, upstream: FakeUpstream, tmp_path: Path
) -> None:
    image = make_image(upstream, tag="1", layer_size=1 * MiB)
    first = make_cluster(tmp_path / "first", upstream, bucket)
    try:
        first.wait_until_ready()
        assert first.pullers[0].manifest("1").status == 200
        assert [first.pullers[1].blob(digest).status for digest in image.blobs] == [200] * len(image.blobs)
        for node in first.nodes:
            wait_until_sent(node)
    finally:
        first.stop()
    upstream.stop()

    second = make_cluster(tmp_path / "second", upstream, bucket)
    try:
        second.wait_until_ready()
        for puller in second.pullers:
            assert puller.manifest("1").body == image.manifest
            answers = [puller.blob(digest) for digest in image.blobs]
            assert {(answer.status, outcome(answer)) for answer in answers} <= {(200, "near"), (200, "join")}
    finally:
        second.stop()
