"""A command line's parser that suggests what was meant, and remembers what it takes for completion and man pages."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

# What stands for a value that is a file or a folder.
FILES = ("FILE", "FILE.tar", "LIST", "DIR")

# Options of argparse's own.
HELP = ("-h", "--help")


@dataclass(frozen=True, slots=True)
class Argument:
    """One option, or an argument without dashes, whose ``names`` are ().

    ``value`` stands for what it takes, "" for nothing; it is one of ``choices`` where there are some.
    """

    names: tuple[str, ...]
    value: str
    help: str
    choices: tuple[str, ...] = ()
    is_optional: bool = True
    is_many: bool = False


class CommandParser(argparse.ArgumentParser):
    """``arguments`` in the order in which they were added; ``commands`` are the parsers of the verbs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments: list[Argument] = []
        self.commands: dict[str, CommandParser] = {}
        super().__init__(*arguments, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        if names != HELP:
            self.arguments.append(_argument(names, options))
        return super().add_argument(*names, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; an option that nobody knows ends here, with the usage of its own verb."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and not self.commands:
            self.error(f"unknown: {' '.join(unknown)}{self._meant(unknown[0])}")
        return found, unknown

    def find_command(self, words: Sequence[str]) -> str:
        """Return the first word that is not an option, "" for none; end with a suggestion if we know no such word."""
        rest = iter(words)
        for word in rest:
            if word == "--config":
                next(rest, None)
            elif not word.startswith("-"):
                if word not in self.commands:
                    self.error(
                        f"{word!r} is not a command{_meant(word, self.commands)}; registry-cache --help lists them"
                    )
                return word
            elif not self._begins_an_option(word):
                self.error(f"unknown: {word}{self._meant(word)}")
        return ""

    def _begins_an_option(self, word: str) -> bool:
        """Whether argparse takes it: it knows an option by its first letters, too."""
        names = [*HELP, "--", *(name for each in self.arguments for name in each.names)]
        return any(name.startswith(word.partition("=")[0]) for name in names)

    def error(self, message: str) -> NoReturn:
        """End with exit status 2."""
        self.exit(2, f"{self.format_usage()}{self.prog}: {message}\n")

    def _meant(self, word: str) -> str:
        return _meant(word.partition("=")[0], [name for each in self.arguments for name in each.names])


def _argument(names: tuple[str, ...], options: dict[str, Any]) -> Argument:
    is_option = names[0].startswith("-")
    choices = tuple(options.get("choices") or ())
    value = options.get("metavar") or ("{" + ",".join(choices) + "}" if choices else names[-1].lstrip("-").upper())
    if options.get("action") in ("store_true", "version"):
        value = ""
    return Argument(
        names if is_option else (),
        value,
        options.get("help") or "print the version",
        choices,
        is_option or options.get("nargs") in ("?", "*"),
        options.get("nargs") in ("+", "*"),
    )


def _meant(word: str, known: Sequence[str] | dict[str, CommandParser]) -> str:
    near = get_close_matches(word, list(known), n=2)
    return f"; did you mean {' or '.join(near)}?" if near else ""
