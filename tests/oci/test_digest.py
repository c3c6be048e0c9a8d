"""Digests: two algorithms, lower case, exact lengths."""

from __future__ import annotations

import pytest

from registry_cache.errors import DigestInvalid
from registry_cache.oci.digest import Digest

HEX = "0123456789abcdef" * 4
# FIPS 180-4, the empty message.
EMPTY_256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
EMPTY_512 = (
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}", f"sha256:{EMPTY_256}"])
def test_digests_of_the_grammar(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text == f"{digest.algorithm}:{digest.hex}"


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "sha256", "sha256:"),
        HEX,
        *(f":{HEX}", f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", f"sha256:{HEX}{HEX}", f"sha512:{HEX}"),
        *(f"sha256:{HEX.upper()}", f"SHA256:{HEX}", f"sha256::{HEX[1:]}", f"sha256:{HEX[:-1]}g"),
        *(f"sha256:{HEX[:-1]}\n", f"sha256:{HEX}\n", f" sha256:{HEX}", f"sha256: {HEX[1:]}", f"sha256:../{HEX[3:]}"),
        *(f"sha256:{HEX[:-1]}\0", f"sha256:{HEX[:-1]}\N{ARABIC-INDIC DIGIT ONE}"),
        *("md5:d41d8cd98f00b204e9800998ecf8427e", f"sha1:{HEX[:40]}", f"sha3_256:{HEX}", f"blake3:{HEX}"),
        "sha256:../../etc/passwd",
        pytest.param("x" * 10_000_000, id="10 MB"),
    ],
)
def test_no_digests(text: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("algorithm", "expected"), [("sha256", f"sha256:{EMPTY_256}"), ("sha512", f"sha512:{EMPTY_512}")]
)
def test_the_digest_of_nothing(algorithm: str, expected: str) -> None:
    assert Digest.of(b"", algorithm) == Digest.parse(expected)


def test_a_hasher_fed_in_chunks_matches_its_digest_and_no_other() -> None:
    for algorithm in ("sha256", "sha512"):
        digest = Digest.of(b"some bytes", algorithm)
        hasher = digest.hasher()
        hasher.update(b"some ")
        assert not digest.matches(hasher)
        hasher.update(memoryview(b"bytes"))
        assert digest.matches(hasher)
        assert not Digest.of(b"other bytes", algorithm).matches(hasher)
