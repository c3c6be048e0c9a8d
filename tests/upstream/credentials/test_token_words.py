"""What registries say of tokens, and what tokens say of themselves."""

import base64
import json

import pytest

from registry_cache.upstream.credentials.token_words import NEW_SECONDS, is_new, says_invalid

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    "text",
    [
        "invalid_token",
        "INVALID_TOKEN",
        "expired_token",
        "token_expired",
        "token is expired by 2s",
        "The access token has expired",
        "invalid token",
        "token is not valid yet",
        "Token used before issued",
        "not_yet_valid",
        "the token was revoked",
    ],
)
def test_a_token_that_another_may_replace(text: str) -> None:
    assert says_invalid("", text)


@pytest.mark.parametrize(
    "text",
    ["", "insufficient_scope", "authentication required", "denied: requested access is denied", "token required"],
)
def test_words_of_access_are_none_of_the_token(text: str) -> None:
    assert not says_invalid(text)


def bearer(claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in ({}, claims)]
    return f"Bearer {parts[0]}.{parts[1]}.signature"


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (bearer({"nbf": NOW + 1}), True),
        (bearer({"iat": NOW}), True),
        (bearer({"nbf": NOW - NEW_SECONDS - 1, "iat": NOW - NEW_SECONDS - 1}), False),
        (bearer({"exp": NOW + 300}), False),
        (bearer({"nbf": "soon"}), False),
        (bearer(["nbf"]), False),
        ("Bearer opaque", False),
        ("Bearer a.b.c", False),
        ("Bearer a.\xe9\xe9.c", False),
        ("Bearer ..", False),
    ],
)
def test_only_a_json_web_token_tells_when_it_begins(authorization: str, expected: bool) -> None:
    assert is_new(authorization, NOW) is expected
