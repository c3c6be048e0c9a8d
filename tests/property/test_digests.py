"""A string is accepted as a digest exactly if it is sha256 or sha512 with the right number of lower-case hex digits."""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest

HEX = "0123456789abcdef"
algorithms = st.sampled_from(["sha256", "sha512"])


def is_digest(text: str) -> bool:
    for algorithm in ("sha256", "sha512"):
        size = hashlib.new(algorithm).digest_size
        prefix, digits = text[: len(algorithm) + 1], text[len(algorithm) + 1 :]
        if prefix == f"{algorithm}:" and len(digits) == 2 * size and all(digit in HEX for digit in digits):
            return True
    return False


@st.composite
def near_digests(draw: st.DrawFn) -> str:
    algorithm = draw(st.sampled_from(["sha256", "sha512", "sha384", "SHA256", "md5", "", "sha256 "]))
    length = draw(st.sampled_from([0, 1, 63, 64, 65, 127, 128, 129]))
    digits = draw(st.text(draw(st.sampled_from([HEX, HEX + "A", HEX + "g", HEX + "/."])), max_size=8))
    return f"{algorithm}{draw(st.sampled_from([':', '', '::', '-']))}{(digits * length or '0' * length)[:length]}"


@given(st.one_of(near_digests(), st.text(max_size=200)))
@settings(max_examples=300)
def test_any_string_is_a_digest_exactly_if_the_grammar_says_so(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except DigestInvalid:
        assert not is_digest(text)
    else:
        assert is_digest(text)
        assert str(digest) == text


@given(algorithms, st.lists(st.binary(max_size=100), max_size=8), st.binary(max_size=100))
def test_any_chunking_of_the_bytes_matches_and_other_bytes_do_not(
    algorithm: str, chunks: list[bytes], other: bytes
) -> None:
    whole = b"".join(chunks)
    digest = Digest.of(whole, algorithm)
    hasher = digest.hasher()
    for chunk in chunks:
        hasher.update(chunk)

    assert digest.matches(hasher)
    assert Digest.parse(str(digest)) == digest
    assert (Digest.of(other, algorithm) == digest) == (other == whole)
