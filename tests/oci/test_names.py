"""Repository names, tags and references: what the grammars of the spec let in."""

from __future__ import annotations

import pytest

from registry_cache.errors import DigestInvalid, ManifestUnknown, NameInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import MAX_NAME_LENGTH, Repository, Tag, fallback_tag, parse_reference

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        *("a", "7", "nginx", "library/nginx", "a/b/c/d/e/f/g", "my-app", "my--app", "my---------app", "my_app"),
        *("my__app", "my.app", "a.b_c__d-e", "manifests/blobs/tags/uploads", "v2/v2"),
        pytest.param("a" * MAX_NAME_LENGTH, id="longest"),
        pytest.param("a/" * 127 + "a", id="deepest"),
    ],
)
def test_names_of_the_grammar(text: str) -> None:
    assert Repository.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "../etc/passwd", "a/../b", "a/..", "a/./b", ".a", "a.", "a..b", "_a"),
        *("a_", "a___b", "a_-b", "a.-b", "-a", "a-", "a/-b", "a/_tags/b", "A", "library/Nginx", "a b", "a\n", "\na"),
        *("a\0", "a\0b", "a:b", "a@b", "a%2fb", "a\\b", "é", "a\N{FULLWIDTH SOLIDUS}b", "\N{ARABIC-INDIC DIGIT ONE}"),
        "\N{LATIN SMALL LETTER LONG S}",
        pytest.param("a" * (MAX_NAME_LENGTH + 1), id="too long"),
        pytest.param("a" * 10_000_000, id="10 MB"),
    ],
)
def test_no_names(text: str) -> None:
    with pytest.raises(NameInvalid) as caught:
        Repository.parse(text)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("text", ["latest", "1.27", "1.27-alpine", "_", "__", "A", "v1_2-3.4", "a..b", "a-", "0" * 128])
def test_tags_of_the_grammar(text: str) -> None:
    assert Tag.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", ".a", "-a", "a/b", "../a", "a b", "a\n", "a\0", "a:b", "é", "a+b", "0" * 129),
        pytest.param("0" * 10_000_000, id="10 MB"),
    ],
)
def test_no_tags(text: str) -> None:
    with pytest.raises(ManifestUnknown) as caught:
        Tag.parse(text)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("text", "kind"),
    [("latest", Tag), ("sha256", Tag), (f"sha256-{HEX}", Tag), (f"sha256:{HEX}", Digest)],
)
def test_a_reference_with_a_colon_is_a_digest(text: str, kind: type) -> None:
    reference = parse_reference(text)
    assert type(reference) is kind
    assert str(reference) == text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("sha256:", DigestInvalid),
        ("latest:1", DigestInvalid),
        (":", DigestInvalid),
        ("", ManifestUnknown),
        ("..", ManifestUnknown),
    ],
)
def test_no_references(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_reference(text)


@pytest.mark.parametrize(
    ("digest", "tag"),
    [(f"sha256:{HEX}", f"sha256-{HEX}"), (f"sha512:{HEX}{HEX[::-1]}", f"sha512-{HEX}")],
)
def test_the_referrers_tag_is_cut_at_64_digits(digest: str, tag: str) -> None:
    assert fallback_tag(Digest.parse(digest)) == Tag.parse(tag)
