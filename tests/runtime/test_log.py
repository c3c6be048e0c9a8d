"""A line is one line, and nothing in it is for a terminal to obey."""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from typing import TextIO, cast

import pytest

from registry_cache.runtime.log import JournalFormatter, JsonFormatter, Log, StderrEvents, TextFormatter, make_handler

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


def test_json_says_seconds_to_the_millisecond() -> None:
    line = json.loads(JsonFormatter().format(record(seconds=0.123456789, bytes=12, ended=True)))

    assert (line["seconds"], line["bytes"], line["ended"]) == (0.123, 12, True)


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_the_journal_gets_a_priority_and_no_second_time(level: int, priority: int) -> None:
    made = logging.LogRecord("gunicorn.error", level, "", 0, "Shutting down: %s", ("Master",), None)

    assert JournalFormatter("text").format(made) == f"<{priority}>{made.levelname.lower()} Shutting down: Master"
    before, line = JournalFormatter("json").format(made)[:3], JournalFormatter("json").format(made)[3:]
    assert (before, json.loads(line)["level"]) == (f"<{priority}>", made.levelname.lower())


def test_the_journal_gets_a_priority_for_each_line_of_a_traceback() -> None:
    made = record()
    try:
        raise ValueError
    except ValueError:
        made.exc_info = sys.exc_info()

    assert all(line.startswith("<6>") for line in JournalFormatter("text").format(made).split("\n"))


def test_what_is_printed_becomes_events_a_line_each(caplog: pytest.LogCaptureFixture) -> None:
    stream = StderrEvents(sys.stderr)

    print("one\ntwo", end="", file=stream)
    assert [each.message for each in caplog.records] == ["one"]
    print(" three\n", file=stream)

    assert [(each.levelname, each.message) for each in caplog.records[1:]] == [("ERROR", "two three")]
    assert stream.fileno() == sys.stderr.fileno()


class _FullDisk(io.TextIOBase):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_on_a_full_disk_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("registry_cache")
    monkeypatch.setattr(sys, "stderr", StderrEvents(cast("TextIO", _FullDisk())))
    monkeypatch.setattr(logger, "handlers", [make_handler("json")])
    monkeypatch.setattr(logger, "propagate", False)

    Log("registry_cache").error("request", bytes=1)
    print("Traceback (most recent call last):", file=sys.stderr)
