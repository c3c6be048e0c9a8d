"""A string is accepted as a name, tag or reference exactly if the grammar allows it, and then it is safe in a path."""

from __future__ import annotations

import itertools
import posixpath

from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import DigestInvalid, ManifestUnknown, NameInvalid
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository, Tag, parse_reference

LOWER = "abcdefghijklmnopqrstuvwxyz"
ALNUM = LOWER + "0123456789"
# Every kind of character that the grammar mentions, and characters next to them.
NEAR = "a0._-/A:\0\n é"


def is_name(text: str) -> bool:
    """The grammar of distribution-spec written by hand: no regular expression, nothing shared with the parser."""
    return 0 < len(text) <= 255 and all(is_component(part) for part in text.split("/"))


def is_component(text: str) -> bool:
    if not text or text[0] not in ALNUM or text[-1] not in ALNUM:
        return False
    runs = ["".join(run) for alnum, run in itertools.groupby(text, key=ALNUM.__contains__) if not alnum]
    return all(run in (".", "_", "__") or set(run) == {"-"} for run in runs)


def is_tag(text: str) -> bool:
    word = ALNUM + LOWER.upper() + "_"
    return 0 < len(text) <= 128 and text[0] in word and all(char in word + ".-" for char in text)


def accepts_name(text: str) -> bool:
    try:
        return Repository.parse(text) == text
    except NameInvalid:
        return False


def accepts_tag(text: str) -> bool:
    try:
        return Tag.parse(text) == text
    except ManifestUnknown:
        return False


components = st.builds(
    lambda head, tail: head + "".join(separator + word for separator, word in tail),
    st.text(ALNUM, min_size=1, max_size=12),
    st.lists(
        st.tuples(st.sampled_from([".", "_", "__", "-", "--", "-----"]), st.text(ALNUM, min_size=1, max_size=8)),
        max_size=4,
    ),
)
names = st.lists(components, min_size=1, max_size=10).map("/".join)
tags = st.builds(str.__add__, st.sampled_from(ALNUM + "_Z"), st.text(ALNUM + "XYZ._-", max_size=130))
strings = st.one_of(st.text(NEAR, max_size=40), st.text(max_size=300))


@st.composite
def scratched(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """One of ``texts`` with a character inserted or removed, or with its end repeated."""
    text = draw(texts)
    at = draw(st.integers(0, len(text)))
    change = draw(st.sampled_from(["insert", "remove", "double"]))
    if change == "insert":
        return text[:at] + draw(st.sampled_from(NEAR + "@%\\~+")) + text[at:]
    return text[:at] + text[at + 1 :] if change == "remove" else text[:at] + text


def test_every_short_string() -> None:
    for length in range(6):
        for chars in itertools.product("a0._-/A", repeat=length):
            text = "".join(chars)
            assert accepts_name(text) == is_name(text), text
            assert accepts_tag(text) == is_tag(text), text


@given(st.one_of(strings, names, scratched(names)))
@settings(max_examples=300)
def test_any_string_is_a_name_exactly_if_the_grammar_says_so(text: str) -> None:
    assert accepts_name(text) == is_name(text)


@given(st.one_of(strings, tags, scratched(tags)))
@settings(max_examples=300)
def test_any_string_is_a_tag_exactly_if_the_grammar_says_so(text: str) -> None:
    assert accepts_tag(text) == is_tag(text)


@given(st.one_of(names.filter(is_name), scratched(names).filter(is_name)))
def test_a_name_stays_below_the_directory_it_is_put_in(text: str) -> None:
    name = Repository.parse(text)
    # posixpath.normpath resolves a path as the kernel would: it must find nothing to change.
    assert posixpath.normpath(posixpath.join("/root", name)) == f"/root/{name}"
    assert not posixpath.isabs(name)
    assert "\0" not in name
    for component in name.split("/"):
        assert component[0] not in "._"
        assert len(component.encode()) <= 255


@given(st.one_of(tags, scratched(tags), strings).filter(is_tag))
def test_a_tag_is_one_file_name(text: str) -> None:
    tag = Tag.parse(text)
    assert posixpath.normpath(posixpath.join("/root", tag)) == f"/root/{tag}"
    assert "/" not in tag
    assert tag not in (".", "..")
    assert len(f"{tag}.json".encode()) <= 255


@given(st.one_of(strings, tags, scratched(st.binary().map(lambda data: str(Digest.of(data))))))
def test_any_reference_is_a_tag_a_digest_or_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except DigestInvalid:
        assert ":" in text
    except ManifestUnknown:
        assert ":" not in text
        assert not is_tag(text)
    else:
        assert str(reference) == text
        assert isinstance(reference, Digest) == (":" in text)
