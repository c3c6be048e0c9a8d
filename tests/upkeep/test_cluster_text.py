"""What `status --cluster` says of nodes, from what they told of themselves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from registry_cache.cluster.membership import ClusterNode
from registry_cache.upkeep.cluster_text import ClusterReport

NOW = 2_000_000_000.0


@pytest.mark.parametrize(
    ("waiting", "told", "entries"),
    [
        (41, "leads 0 downloads, 41 waiting for the bucket", 41),
        (0, "leads 0 downloads", 0),
        (None, "leads 0 downloads", None),
    ],
)
def test_what_waits_for_the_bucket(waiting: int | None, told: str, entries: int | None) -> None:
    node = ClusterNode("node1", "http://10.0.0.1:5050", NOW, {"version": "1", "outbox": waiting})
    report = ClusterReport("10.0.0.1:6379", [node], {}, datetime.fromtimestamp(NOW, UTC))

    assert next(line for line in report.lines() if "node1" in line).endswith(told)
    assert report.document()["nodes"][0]["outbox_entries"] == entries  # type: ignore[index]
