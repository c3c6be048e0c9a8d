"""Challenges are parsed correctly however they are written, and garbage is parsed in bounded time."""

from __future__ import annotations

import string
import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.oci.challenge import MAX_CHALLENGE_LENGTH, Challenge, parse_challenges

# RFC 9110 §5.6.2, §11.2, §5.6.4.
TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters
TOKEN68 = "-._~+/" + string.digits + string.ascii_letters
TEXT = "\t" + "".join(map(chr, range(0x20, 0x7F))) + "\x80é\xff"
# Characters that the parser branches on.
STEERING = ',"= \t\\aB:/\n;é\0'

# A linear parser needs 5-25 ms for the longest header, a quadratic one seconds.
BOUND = 0.5

blanks = st.sampled_from(["", " ", "\t", "  ", " \t "])
commas = st.sampled_from([",", ", ", " ,", " , ", ",,", ", ,\t,"])
tokens = st.text(TOKEN, min_size=1, max_size=8)


@dataclass(frozen=True)
class Written:
    """A challenge and one way to write it."""

    challenge: Challenge
    text: str


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """``name`` with each letter in either case."""
    return "".join(draw(st.sampled_from([char.lower(), char.upper()])) for char in name)


@st.composite
def written_value(draw: st.DrawFn, value: str) -> str:
    if value and set(value) <= set(TOKEN) and draw(st.booleans()):
        return value
    escaped = "".join("\\" + char if char in '"\\' or draw(st.booleans()) else char for char in value)
    return f'"{escaped}"'


@st.composite
def with_parameters(draw: st.DrawFn) -> Written:
    scheme = draw(tokens).lower()
    values = st.one_of(tokens, st.text(TEXT, max_size=12), st.text(STEERING.replace("\n", "").replace("\0", "")))
    parameters = draw(st.dictionaries(tokens.map(str.lower), values, min_size=1, max_size=4))
    text = draw(spelled(scheme)) + " " + draw(st.sampled_from(["", " ", "\t", ", ", " ,,"]))
    for place, (name, value) in enumerate(parameters.items()):
        text += draw(commas) if place else ""
        text += draw(spelled(name)) + draw(blanks) + "=" + draw(blanks) + draw(written_value(value))
    return Written(Challenge(scheme, parameters), text)


@st.composite
def with_token68(draw: st.DrawFn) -> Written:
    scheme = draw(tokens).lower()
    credentials = draw(st.text(TOKEN68, min_size=1, max_size=8)) + draw(st.sampled_from(["", "=", "=="]))
    return Written(Challenge(scheme), f"{draw(spelled(scheme))} {credentials}")


@st.composite
def bare(draw: st.DrawFn) -> Written:
    scheme = draw(tokens).lower()
    return Written(Challenge(scheme), draw(spelled(scheme)))


challenges = st.lists(st.one_of(with_parameters(), with_token68(), bare()), max_size=5)


@given(challenges, st.data())
@settings(max_examples=150)
def test_challenges_read_back_however_they_were_written(written: list[Written], data: st.DataObject) -> None:
    headers: list[str] = []
    for place, each in enumerate(written):
        if place and data.draw(st.booleans(), label="joined to the one before"):
            headers[-1] += data.draw(commas) + each.text
        else:
            headers.append(data.draw(st.sampled_from(["", " ", ",", " ,, "])) + each.text)
    headers = [header + data.draw(st.sampled_from(["", " ", ",", " , "])) for header in headers]

    assert parse_challenges(headers) == [each.challenge for each in written]


@given(challenges, st.text(STEERING, max_size=30))
@settings(max_examples=60)
def test_garbage_behind_a_challenge_does_not_take_it_away(written: list[Written], garbage: str) -> None:
    header = ", ".join(each.text for each in written)
    # The comma ends the last challenge; no grammar allows the semicolon.
    found = parse_challenges([f"{header},;{garbage}"])
    assert found == [each.challenge for each in written]


@given(st.lists(st.one_of(st.text(), st.text(STEERING), st.binary().map(lambda data: data.decode("latin-1")))))
@settings(max_examples=150)
def test_any_header_is_read_without_a_word(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower()
        assert set(challenge.scheme) <= set(TOKEN)
        for name in challenge.parameters:
            assert name == name.lower()
            assert set(name) <= set(TOKEN)


def seconds(header: str) -> float:
    # Processor time of this thread, so that a busy machine makes no difference.
    began = time.thread_time()
    parse_challenges([header])
    return time.thread_time() - began


@pytest.mark.parametrize("prefix", ["", "x ", 'x a="', "x a=", "x a"])
@pytest.mark.parametrize(
    "fragment",
    [
        ",",
        '"',
        "a=",
        "a",
        "=",
        " ",
        "\\",
        '\\"',
        '"\\',
        "a ",
        "a,",
        "a =",
        "a= ",
        "a=,",
        'a="',
        'a="b",',
        "a b==",
        ", a",
    ],
)
def test_the_longest_header_takes_no_time(prefix: str, fragment: str) -> None:
    assert seconds(prefix + fragment * (MAX_CHALLENGE_LENGTH // len(fragment))) < BOUND


@given(st.text(STEERING, max_size=6), st.text(STEERING, min_size=1, max_size=5), st.text(STEERING, max_size=3))
@settings(max_examples=100)
def test_any_fragment_repeated_to_the_bound_takes_no_time(prefix: str, fragment: str, suffix: str) -> None:
    room = MAX_CHALLENGE_LENGTH - len(prefix) - len(suffix)
    assert seconds(prefix + fragment * (room // len(fragment)) + suffix) < BOUND


def test_a_header_of_megabytes_costs_no_more_than_the_bound() -> None:
    assert seconds('a="b", ' * 1_000_000) < BOUND
