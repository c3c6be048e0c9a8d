"""Repositories by any part of their names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry_cache.upkeep.name_search import search

NAMES = ["docker.io/bitnami/nginx-exporter", "docker.io/library/nginx", "ghcr.io/nginxinc/web", "quay.io/a/b"]


def text_of(names: list[str]) -> bytes:
    return "\n".join(["", *sorted(names), ""]).encode()


def test_the_image_that_was_meant_comes_first() -> None:
    found = search(text_of(NAMES), "nginx")
    assert found.names == [
        "docker.io/library/nginx",
        "docker.io/bitnami/nginx-exporter",
        "ghcr.io/nginxinc/web",
    ]
    assert found.complete


def test_any_part_and_any_case() -> None:
    names = text_of(NAMES)
    assert search(names, " IO/A ").names == ["quay.io/a/b"]
    assert search(names, "quay.io/a/b").names == ["quay.io/a/b"]
    assert search(names, "no such").names == []
    assert search(names, "b\nquay").names == []
    assert sorted(search(names, "").names) == NAMES
    assert search(b"\n", "a").names == search(b"", "a").names == []


def test_a_letter_that_all_have_ends_early() -> None:
    found = search(text_of([f"docker.io/team/app{number}" for number in range(50)]), "a", most=7)
    assert (len(found.names), found.complete) == (7, False)


@given(st.sets(st.text("ab/.-", min_size=1, max_size=8), max_size=12), st.text("ab/.-", max_size=4))
def test_exactly_the_names_that_hold_it(names: set[str], text: str) -> None:
    assert sorted(search(text_of(list(names)), text).names) == sorted(name for name in names if text in name)
