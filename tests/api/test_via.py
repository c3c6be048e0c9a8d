"""A request that came by another cache says so to the registry, which may have led the two to each other."""

from tests.harness.content import APP
from tests.harness.images import make_image, random_bytes
from tests.harness.pullers import Puller
from tests.harness.telling import code
from tests.harness.upstream import FakeUpstream

OTHER = "1.1 registry-cache-0123456789abcdef"


def test_whatever_is_asked_says_by_whom_it_came(upstream: FakeUpstream, puller: Puller) -> None:
    image = make_image(upstream, tag="latest")
    blob = upstream.add_blob(random_bytes(100_000, seed="via"))
    about = f"manifests/{image.digest}", f"blobs/{blob}", f"referrers/{image.digest}"
    for path in ("manifests/latest", "tags/list", *about):
        assert puller.get(f"/v2/{APP}/{path}", {"Via": OTHER}).status == 200

    said = {each.headers["Via"] for each in upstream.exchanges}
    [ours] = {each.removeprefix(f"{OTHER}, ") for each in said}
    assert said == {f"{OTHER}, {ours}"}
    # Back here, whether directly or by way of the other.
    for header in (ours, f"{OTHER}, {ours}", f"{ours}, {OTHER}"):
        answer = puller.get(f"/v2/{APP}/manifests/latest", {"Via": header})
        assert code(answer) == (508, "UNAVAILABLE")
