"""Log lines: an event and its fields, as text or JSON; for systemd's journal with a priority.

Only what a caller names as a field is written, so a header or a URL with a secret in it cannot slip in by being part of
some larger object (redaction by allow-list).
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, TextIO

Format = Literal["text", "json"]

_ROOT = "registry_cache"

_LEVELS = {
    level: logging.getLevelName(level).lower()
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
}

# What systemd takes for a line's priority, and takes off it (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

# What nearly every value is, told in one step.
_PLAIN = re.compile(r"[!#-<>-~]+")


class Log:
    """Writes events of one part of the program: ``Log(__name__).info("stored", digest=…)``."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """Write what only someone who debugs wants to read."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write what happened."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write what an operator should look at in working hours."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Write what an operator should look at now."""
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Write a defect of ours with its traceback; call it in an except block."""
        self._write(logging.ERROR, event, fields, exc_info=True)

    def _write(self, level: int, event: str, fields: dict[str, object], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            # ``Logger.log`` would also look for its caller, and for what ``extra`` may not replace.
            record = logging.LogRecord(self._logger.name, level, "", 0, event, (), sys.exc_info() if exc_info else None)
            record.__dict__["fields"] = fields
            self._logger.handle(record)


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z info pull repository=library/nginx …``; values with blanks are quoted."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {self.format_untimed(record)}"

    def format_untimed(self, record: logging.LogRecord) -> str:
        """Return the line from the level on."""
        words = [_LEVELS.get(record.levelno, record.levelname.lower()), record.getMessage()]
        words += [f"{name}={_word(value)}" for name, value in _fields(record).items() if value is not None]
        text = _printable(" ".join(words))
        if record.exc_info:
            lines = self.formatException(record.exc_info).split("\n")
            text += "\n" + "\n".join(map(_printable, lines))
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: _plain(value) for name, value in _fields(record).items() if value is not None}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _printable(json.dumps(line, ensure_ascii=False))


class _CommandFormatter(TextFormatter):
    """``registry-cache: warning the disk refuses what=…``: who reads it knows what time it is."""

    def format(self, record: logging.LogRecord) -> str:
        return f"registry-cache: {self.format_untimed(record)}"


class JournalFormatter(logging.Formatter):
    """Each line begins with its priority, as systemd's journal reads it; a line of text has no time, which it adds."""

    def __init__(self, formatter: Format) -> None:
        super().__init__()
        self._format = JsonFormatter().format if formatter == "json" else TextFormatter().format_untimed

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        # A traceback's lines as well: to the journal each is an entry.
        return priority + self._format(record).replace("\n", f"\n{priority}")


class StderrEvents(io.TextIOBase):
    """Stands in for standard error: whatever is printed there, such as a traceback, becomes events, one a line."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._begun = ""

    def write(self, text: str) -> int:
        """Take ``text``; the last line stays until its end comes."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            Log(_ROOT).error(line)
        return len(text)

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


class _Lines(logging.StreamHandler[TextIO]):
    """Writes a line in one call, which keeps it whole without the lock that ``logging`` takes twice a line.

    Under gevent that is one in Python, and it took longer than the line itself.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        """Called by the logger; nobody filters here."""
        self.emit(record)
        return True

    def flush(self) -> None:
        """Called for each line, and at the end."""
        self.stream.flush()

    def handleError(self, record: logging.LogRecord) -> None:
        """Called where a line could not be written: a log on a full disk must not fail a pull."""
        # To say so would be to write to the same place, and StderrEvents would come back here without end.
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handleError(record)


def setup(level: str, formatter: Format) -> None:
    """Send this package's events to standard error; calling it again replaces what an earlier call set up."""
    # No line shows where it was logged, so that need not be found out for each.
    logging._srcfile = None  # the module's own switch for it ("Optimization", logging HOWTO)
    logging.logThreads = logging.logMultiprocessing = False
    logger = logging.getLogger(_ROOT)
    logger.handlers[:] = [make_handler(formatter)]
    logger.setLevel(level.upper())
    logger.propagate = False


def setup_command() -> None:
    """Let what is worth a warning in a command be a line on standard error: the event, and its fields.

    Python's own last resort, which writes it where nothing is set up, would leave the fields out.
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_CommandFormatter())


def make_handler(formatter: Format) -> logging.Handler:
    """Return what writes events, of any logger, to standard error."""
    stream = _stderr()
    handler = _Lines(stream)
    if _is_journal(stream):
        handler.setFormatter(JournalFormatter(formatter))
    else:
        handler.setFormatter(JsonFormatter() if formatter == "json" else TextFormatter())
    return handler


def is_set_up() -> bool:
    """Tell whether this process writes its events, as a server does and a command does not."""
    return any(isinstance(handler, _Lines) for handler in logging.getLogger(_ROOT).handlers)


def capture_stderr(formatter: Format) -> None:
    """Let everything that Python prints to standard error be an object of its own, a line each; not for ``text``."""
    stream = _stderr()
    sys.stderr = StderrEvents(stream) if formatter == "json" else stream


def print_error(text: str, formatter: Format) -> None:
    """Print why a server does not start, a line or several: as events for JSON and the journal, else as it is."""
    if formatter == "text" and not _is_journal(_stderr()):
        print(text, file=sys.stderr)
        return
    setup("error", formatter)
    for line in text.splitlines():
        Log(_ROOT).error(line.strip())


def _stderr() -> TextIO:
    return sys.stderr.stream if isinstance(sys.stderr, StderrEvents) else sys.stderr


def _is_journal(stream: TextIO) -> bool:
    """Tell whether ``stream`` leads to systemd's journal: a service's may have been redirected (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return getattr(record, "fields", {})


def _time(record: logging.LogRecord) -> str:
    second = int(record.created)
    return f"{_second(second)}.{int((record.created - second) * 1000):03}Z"


@lru_cache(maxsize=4)
def _second(moment: int) -> str:
    """A busy server writes thousands of lines in one."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _plain(value: object) -> object:
    if type(value) is float:
        return round(value, 3)
    return value if isinstance(value, str | int | bool) else str(value)


def _word(value: object) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return f"{value:.3f}"
    text = str(value)
    # A client chooses names and agents: a line break in one must not look like a second line.
    if _PLAIN.fullmatch(text) or (text and text.isprintable() and not set(text) & set(' "=')):
        return text
    return json.dumps(text, ensure_ascii=False)


def _printable(text: str) -> str:
    """Return ``text`` with JSON's escapes for what a terminal may obey or take for the end of a line."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    # The one control character that JSON lets stand.
    return "\\u007f" if sign == "\x7f" else json.dumps(sign)[1:-1]
