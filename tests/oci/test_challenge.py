"""``WWW-Authenticate`` as registries send it, and as nobody should."""

from __future__ import annotations

import pytest

from registry_cache.oci.challenge import MAX_CHALLENGE_LENGTH, MAX_CHALLENGES, Challenge, parse_challenges

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"'

Parsed = list[tuple[str, dict[str, str]]]


def parsed(*values: str) -> Parsed:
    return [(challenge.scheme, challenge.parameters) for challenge in parse_challenges(values)]


URL_WITHOUT_QUOTES = ("bearer", {"realm": "https://a.b/token?c=d", "scope": "e:f:pull"})


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            HUB,
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/nginx:pull",
                    },
                )
            ],
        ),
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ('BASIC REALM="X"', [("basic", {"realm": "X"})]),
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        ("Bearer realm='https://a.b/t',service='c d'", [("bearer", {"realm": "https://a.b/t", "service": "'c"})]),
        ("Bearer realm='https://a.b/t', service='s'", [("bearer", {"realm": "https://a.b/t", "service": "'s'"})]),
        ("Bearer realm='', service=it's", [("bearer", {"realm": "''", "service": "it's"})]),
        ('Bearer scope="a:pull,push"', [("bearer", {"scope": "a:pull,push"})]),
        ('Bearer scope="a:pull b:pull"', [("bearer", {"scope": "a:pull b:pull"})]),
        (r'Basic realm="say \"hi\""', [("basic", {"realm": 'say "hi"'})]),
        (r'Basic realm="back\\slash"', [("basic", {"realm": "back\\slash"})]),
        (r'Basic realm="\a\b"', [("basic", {"realm": "ab"})]),
        ('Basic realm=""', [("basic", {"realm": ""})]),
        ('Basic realm="café"', [("basic", {"realm": "café"})]),
        ('Basic realm="x", charset="UTF-8"', [("basic", {"realm": "x", "charset": "UTF-8"})]),
        ("Negotiate", [("negotiate", {})]),
        ("Negotiate YWJj==", [("negotiate", {})]),
        ("Negotiate a/b+c==, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate , Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (
            'Bearer realm="y", error="invalid_token", Basic realm="x"',
            [("bearer", {"realm": "y", "error": "invalid_token"}), ("basic", {"realm": "x"})],
        ),
        # RFC 9110's own example, §11.6.1.
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        # Blanks and empty list elements that a recipient has to take.
        ('Bearer realm = "x" , service\t=\ty', [("bearer", {"realm": "x", "service": "y"})]),
        (' , ,Bearer  realm="x",, ,service="y", ', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer , realm="x"', [("bearer", {"realm": "x"})]),
        # Not the grammar, but what it means is plain.
        ("Bearer realm=https://a.b/token?c=d, scope=e:f:pull", [URL_WITHOUT_QUOTES]),
        ('Bearer realm="x" service="y"', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="x", realm="z"', [("bearer", {"realm": "x"})]),
    ],
)
def test_challenges(header: str, expected: Parsed) -> None:
    assert parsed(header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        (" ", []),
        (",,,", []),
        ('"Bearer"', []),
        ("=", []),
        ("realm=x", []),
        ('realm ="x"', []),
        ("Bearer=", []),
        ("Bearer/x", []),
        ("\0Bearer", []),
        ("Béarer realm=x", []),
        ('Bearer realm="x', [("bearer", {})]),
        ('Bearer realm="x\\"', [("bearer", {})]),
        ('Bearer realm="x", scope="y', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x", scope ="y', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x"junk', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x"scope="y"', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x"Basic realm="y"', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x"; Basic realm="y"', [("bearer", {"realm": "x"})]),
        ('Bearer realm="x"\r\nBasic realm="y"', [("bearer", {"realm": "x"})]),
        ("Bearer one two", [("bearer", {})]),
        ("Negotiate abc, realm=x", [("negotiate", {})]),
    ],
)
def test_what_is_not_the_grammar_ends_the_header(header: str, expected: Parsed) -> None:
    assert parsed(header) == expected


def test_every_header_instance_is_read_by_itself() -> None:
    assert parsed('Bearer realm="x', "Negotiate", 'Basic realm="z"') == [
        ("bearer", {}),
        ("negotiate", {}),
        ("basic", {"realm": "z"}),
    ]
    assert parsed() == []


def test_nothing_behind_the_bound_is_read() -> None:
    assert parsed("," * MAX_CHALLENGE_LENGTH + "Basic realm=x") == []
    assert parsed("," * (MAX_CHALLENGE_LENGTH - 13) + "Basic realm=x") == [("basic", {"realm": "x"})]


def test_so_many_challenges_are_read_of_all_headers() -> None:
    assert len(parsed("a," * MAX_CHALLENGES, "b," * 1000)) == MAX_CHALLENGES


def test_challenges_do_not_share_their_parameters() -> None:
    first, second = parse_challenges(["Negotiate, Negotiate"])
    assert first == second == Challenge("negotiate")
    assert first.parameters is not second.parameters
