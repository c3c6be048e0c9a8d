"""What an upstream must show for bytes that are here already."""

import pytest

from registry_cache.policy.proof import PROOF_SIZE, Proof, needed_proof, proof_range


@pytest.mark.parametrize(
    ("brought_by", "asked", "proof"),
    [
        ("docker.io", "docker.io", Proof.WORD),
        ("docker.io", "ghcr.io", Proof.BYTES),
        ("", "docker.io", Proof.BYTES),
        ("", "", Proof.BYTES),
    ],
)
def test_its_word_is_good_for_what_it_brought_itself(brought_by: str, asked: str, proof: Proof) -> None:
    assert needed_proof(brought_by, asked) is proof


@pytest.mark.parametrize("size", [0, 1, PROOF_SIZE])
def test_what_is_small_is_shown_as_a_whole(size: int) -> None:
    assert proof_range(size, lambda _: 1 // 0) == (0, size)


def test_any_place_may_be_asked_for() -> None:
    asked = []
    for at in (0, 7):
        assert proof_range(PROOF_SIZE + 7, lambda below, at=at: asked.append(below) or at) == (at, at + PROOF_SIZE)  # type: ignore[misc,func-returns-value]
    assert asked == [8, 8]
