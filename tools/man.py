"""Write a manual page for each command, and one for all, into a folder: ``man.py FOLDER``. `make dist` packs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from registry_cache import __version__
from registry_cache.cli import make_parser
from registry_cache.commands.parser import Argument, CommandParser

_FILES = (
    ("/etc/registry-cache/config.yml", "the configuration, where neither --config nor REGISTRY_CACHE_CONFIG names one"),
)
_STATUSES = (
    ("0", "all is well"),
    ("1", "something failed or is damaged"),
    ("2", "the configuration or the command line is wrong"),
    ("3", "the work is not finished"),
)


def page(parser: CommandParser) -> Iterator[str]:
    """Yield the lines of one page, in the macros of man(7)."""
    name = parser.prog.replace(" ", "-")
    yield f'.TH "{name.upper()}" 1 "" "registry-cache {__version__}"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(parser.description or '')}"
    yield ".SH SYNOPSIS"
    yield f".B {escaped(parser.prog)}"
    yield from (_in_synopsis(each) for each in parser.arguments)
    if parser.commands:
        yield "\\fICOMMAND\\fR ..."
        yield ".SH COMMANDS"
        for verb, command in parser.commands.items():
            yield from _entry(f"\\fB{escaped(verb)}\\fR", command.description or "")
    yield ".SH OPTIONS"
    for each in parser.arguments:
        yield from _entry(_written(each), each.help)
    for title, rows in (("EXIT STATUS", _STATUSES), ("FILES", _FILES)):
        yield f".SH {title}"
        for what, words in rows:
            yield from _entry(f"\\fB{escaped(what)}\\fR", words)
    yield ".SH SEE ALSO"
    others = [] if parser.commands else ["registry-cache"]
    others += [f"registry-cache-{verb}" for verb in parser.commands]
    yield from (f".BR {escaped(other)} (1)" for other in others)


def escaped(text: str) -> str:
    """Return ``text`` as troff prints it: a minus that can be copied, and no line that is a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _entry(term: str, words: str) -> Iterator[str]:
    yield ".TP"
    yield term
    yield escaped(words)


def _written(each: Argument) -> str:
    value = f"\\fI{escaped(each.value)}\\fR" if each.value else ""
    names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in each.names)
    return " ".join(filter(None, (names, value)))


def _in_synopsis(each: Argument) -> str:
    many = " ..." if each.is_many else ""
    return f"[{_written(each)}{many}]" if each.is_optional else f"{_written(each)}{many}"


def main(folder: Path) -> None:
    parser = make_parser()
    folder.mkdir(parents=True, exist_ok=True)
    for each in (parser, *parser.commands.values()):
        file = folder / f"{each.prog.replace(' ', '-')}.1"
        file.write_text("\n".join(page(each)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
