"""A line is one line, and nothing in it is for a terminal to obey."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from registry_cache.runtime.log import JsonFormatter, TextFormatter

# Escape, C1 (CSI, next line), DEL, the separators that some readers split lines at, half of a pair, a private plane.
ODD = "a\x1b[31m\x9b31mb\x85c\x7fd\u2028e\u2029f\ng\udc80h\U000e0001i"
ESCAPED = r"a\u001b[31m\u009b31mb\u0085c\u007fd\u2028e\u2029f\ng\udc80h\udb40\udc01i"


def record(event: str = "request", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("registry_cache", logging.INFO, __file__, 1, event, None, None)
    made.fields = fields
    return made


def test_text_escapes_what_is_not_printable() -> None:
    line = TextFormatter().format(record("an\x85event", agent=ODD, path="/v2/ä", error='"'))
    assert line.isprintable()
    assert line.endswith(rf' info an\u0085event agent="{ESCAPED}" path=/v2/ä error="\""')


def test_json_escapes_what_is_not_printable_and_says_the_same() -> None:
    line = JsonFormatter().format(record(agent=ODD, path="/v2/ä"))
    assert line.isprintable()
    assert ESCAPED in line
    assert '"/v2/ä"' in line
    assert json.loads(line)["agent"] == ODD


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_keeps_its_lines_and_nothing_else(formatter: logging.Formatter) -> None:
    made = record()
    try:
        raise ValueError(ODD)
    except ValueError:
        made.exc_info = sys.exc_info()
    text = formatter.format(made)
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\u009b31mb\u0085c\u007fd\u2028e" in text
    assert ("\nTraceback (most recent call last):\n" in text) is isinstance(formatter, TextFormatter)
