"""For any text that an upstream calls an address: the host that the rules judge is the host that is connected to."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url as urllib3_parse_url

from registry_cache.errors import UpstreamError
from registry_cache.upstream.network import pool
from registry_cache.upstream.network.url import Url, parse_url
from registry_cache.upstream.session import TLS, HttpRequest, Session, Timeouts

HOME = parse_url("http://home.example:5000/v2/first")

PIECES = st.sampled_from(
    [
        *("http:", "https:", "HTTP:", "ftp:", "//", "/", "\\", "\\\\", "@", "?", "#", ":", ":80", ":5000", ":99999"),
        *("home.example", "other.example", "127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[", "]", "%40", "%2f", "%00"),
        *(
            "..",
            ".",
            ";",
            ",",
            "*",
            " ",
            "\t",
            "\r\n",
            "\x00",
            "\u3002",
            "\uff0e",
            "\uff20",
            "\u2044",
            "\u00df",
            "user:pw@",
        ),
        *(
            "user:pw@",
            "a",
            "_",
            "-",
            "xn--",
            "%",
            "{",
            "|",
            "^",
            "localhost",
            "[::ffff:127.0.0.1]",
            "%25eth0",
            "&",
            "=",
        ),
    ]
)
ADDRESSES = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join) | st.text(max_size=30)
PLAIN = st.tuples(st.sampled_from(["http://", "https://", "//", "/"]), ADDRESSES).map("".join)


@pytest.fixture(scope="module")
def connected() -> Iterator[list[tuple[str, int]]]:
    """The hosts and ports that were to be connected to; none accepts."""
    found: list[tuple[str, int]] = []

    def refuse(host: str, port: int, *_: Any, **__: Any) -> Any:
        found.append((host, port))
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "connect", refuse)
        yield found


def read(reference: str) -> Url | None:
    try:
        return HOME.join(reference)
    except UpstreamError:
        return None


@given(reference=ADDRESSES | PLAIN)
@example(reference="http://other.example\\@home.example:5000/")
@example(reference="http://home.example:5000\\@other.example/")
@example(reference="http://home.example:5000@other.example/")
@example(reference="//other.example")
@example(reference="http://home.example:5000/../..//other.example/\u00e9")
@example(reference="http://[::ffff:127.0.0.1]/%2e%2e/")
@example(reference="//a_b._-c:1/%zz?%")
def test_who_is_judged_is_who_is_connected_to(connected: list[tuple[str, int]], reference: str) -> None:
    url = read(reference)
    if url is None:
        return
    connected.clear()
    session = Session("it", Timeouts(), TLS())
    with contextlib.suppress(UpstreamError):
        session.send(HttpRequest("GET", str(url), {}, "asked"))
    assert connected == [(url.host, url.port)]
    assert parse_url(str(url)) == url


@given(reference=ADDRESSES | PLAIN)
def test_no_other_program_reads_another_host(reference: str) -> None:
    url = read(reference)
    if url is None:
        return
    try:
        other = urllib3_parse_url(str(url))
    except LocationParseError:
        return
    assert ((other.host or "").strip("[]"), other.port or {"http": 80, "https": 443}[url.scheme]) == (
        url.host,
        url.port,
    )
