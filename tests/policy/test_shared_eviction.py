"""What goes from a bucket that is too large: what was used longest ago, and the names of it first."""

from registry_cache.policy.shared_eviction import YOUNG_SECONDS, SharedObject, plan

NOW = 10_000_000.0
OLD = NOW - 2 * YOUNG_SECONDS


def blob(name: str, size: int, used_at: float) -> SharedObject:
    return SharedObject(f"blobs/sha256/{name[:2]}/{name}", size, used_at)


def membership(repository: str, name: str) -> SharedObject:
    return SharedObject(f"repositories/docker.io/{repository}/_blobs/sha256/{name}", 0, OLD)


def test_within_its_size_nothing_goes() -> None:
    found = plan([blob("aa", 60, OLD), blob("bb", 40, OLD)], 100, NOW)

    assert (found.stored, found.evicted, found.names, found.blobs, found.over) == (100, 0, [], [], 0)


def test_what_was_used_longest_ago_goes_with_its_names_down_to_the_low_mark() -> None:
    objects = [
        blob("aa", 50, OLD + 2),
        blob("bb", 50, OLD),
        blob("cc", 50, OLD + 1),
        membership("one", "bb"),
        membership("two", "bb"),
        membership("one", "aa"),
        SharedObject("repositories/docker.io/one/_manifests/sha256/bb", 10, OLD),
        SharedObject("repositories/docker.io/one/_tags/1", 10, OLD),
        SharedObject("pins.json", 10, OLD),
    ]

    found = plan(objects, 120, NOW)

    assert (found.stored, found.evicted, found.over) == (150, 50, 0)
    assert found.blobs == ["blobs/sha256/bb/bb"]
    assert found.names == [f"repositories/docker.io/{name}/_blobs/sha256/bb" for name in ("one", "two")]


def test_what_is_young_stays_and_is_told() -> None:
    found = plan([blob("aa", 80, NOW - 10), blob("bb", 80, OLD)], 50, NOW)

    assert (found.blobs, found.over) == (["blobs/sha256/bb/bb"], 30)
