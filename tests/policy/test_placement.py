"""Which node brings a blob for all."""

from __future__ import annotations

from collections import Counter

from registry_cache.policy.placement import home_of, rank


def test_each_blob_has_one_node_and_a_node_that_goes_takes_its_own_along() -> None:
    nodes = ["a", "b", "c"]
    before = {str(number): home_of(str(number), nodes) for number in range(300)}
    after = {blob: home_of(blob, ["c", "a"]) for blob in before}
    assert min(Counter(before.values()).values()) > 60
    assert all(after[blob] == node for blob, node in before.items() if node != "b")
    assert home_of("1", []) is None


def test_where_the_first_is_gone_all_find_the_same_second() -> None:
    for number in range(50):
        first, second, _ = rank(str(number), ["a", "b", "c"])
        assert rank(str(number), {"c", "b", "a"})[0] == first
        assert home_of(str(number), {"a", "b", "c"} - {first}) == second
