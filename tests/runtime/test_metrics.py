"""How long upstreams take to answer, from the counts of this process; tests/browser has those of all workers."""

from __future__ import annotations

from registry_cache.runtime import metrics


def test_an_average_of_each_upstream_that_was_asked() -> None:
    for seconds in (0.5, 1.5):
        metrics.count_upstream_request("slow.example", "GET", 200, seconds)
    metrics.count_upstream_request("quick.example", "HEAD", None, 0.25)

    found = metrics.answer_seconds()
    assert (found["slow.example"], found["quick.example"]) == (1.0, 0.25)
    assert "never.example" not in found
