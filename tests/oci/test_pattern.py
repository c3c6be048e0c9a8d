from __future__ import annotations

import pytest

from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.pattern import ImagePattern

DIGEST = Digest.of(b"x")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("library/postgres:16", "library/postgres:16"),
        ("library/postgres", "library/postgres:latest"),
        (f"owner/app@{DIGEST}", f"owner/app@{DIGEST}"),
        ("owner/*:v1.*", "owner/*:v1.*"),
        ("**:*", "**:*"),
    ],
)
def test_what_is_written_is_read_again(text: str, written: str) -> None:
    pattern = ImagePattern.parse(text)
    assert str(pattern) == written
    assert ImagePattern.parse(written) == pattern


@pytest.mark.parametrize(
    "text",
    [
        "", ":1", "a b:1", "A:1", "../x:1", "_tags:1", "a//*:1", "/*:1", "*/", "a:", "a:-x", "a:x y*", "a:1:2", "a@b",
        f"a:1@{DIGEST}", f"a@{DIGEST}*", "a*\n:1", "a:*\n", "*" * 300, "a:" + "*" * 129,
    ],
)  # fmt: skip
def test_what_is_no_pattern(text: str) -> None:
    with pytest.raises(RegistryError):
        ImagePattern.parse(text)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("owner/*:1", "owner/app", True),
        ("owner/*:1", "owner/team/app", False),
        ("owner/**:1", "owner/team/app", True),
        ("owner/**:1", "owner", False),
        ("*:1", "app", True),
        ("**:1", "owner/team/app", True),
        ("a.c:1", "abc", False),
        ("lib*/post*:1", "library/postgres", True),
    ],
)
def test_repositories(pattern: str, name: str, matches: bool) -> None:
    assert ImagePattern.parse(pattern).matches_repository(name) is matches


@pytest.mark.parametrize(
    ("pattern", "tag", "matches"),
    [("a:1.*", "1.27", True), ("a:1.*", "10", False), ("a:*", "x", True), ("a:1", "1", True), ("a:1", "12", False)],
)
def test_tags(pattern: str, tag: str, matches: bool) -> None:
    assert ImagePattern.parse(pattern).matches_tag(tag) is matches


def test_a_digest_matches_no_tag() -> None:
    assert not ImagePattern.parse(f"a@{DIGEST}").matches_tag("latest")


def test_many_stars_are_quick() -> None:
    """Each star tried with each other would take longer than the universe has."""
    assert not ImagePattern.parse("a:" + "*a" * 40).matches_tag("a" * 39 + "b" * 80)
