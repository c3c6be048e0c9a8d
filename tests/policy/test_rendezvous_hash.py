"""Which node brings a blob for all."""

from __future__ import annotations

from collections import Counter

from registry_cache.policy.rendezvous_hash import rank


def test_each_blob_has_one_node_and_a_node_that_goes_takes_its_own_along() -> None:
    nodes = ["a", "b", "c"]
    before = {str(number): rank(str(number), nodes)[0] for number in range(300)}
    after = {blob: rank(blob, ["c", "a"])[0] for blob in before}
    assert min(Counter(before.values()).values()) > 60
    assert all(after[blob] == node for blob, node in before.items() if node != "b")
    assert rank("1", []) == []


def test_where_the_first_is_gone_all_find_the_same_second() -> None:
    for number in range(50):
        first, second, _ = rank(str(number), ["a", "b", "c"])
        assert rank(str(number), {"c", "b", "a"})[0] == first
        assert rank(str(number), {"a", "b", "c"} - {first})[0] == second
