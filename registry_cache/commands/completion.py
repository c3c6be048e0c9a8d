"""``registry-cache completion``"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping

from registry_cache.cli import make_parser
from registry_cache.commands.parser import FILES, HELP, Argument, CommandParser

PROGRAM = "registry-cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SHELLS), metavar="SHELL", help=f"one of {', '.join(SHELLS)}")


def run(arguments: argparse.Namespace, _environ: Mapping[str, str]) -> int:
    """Print what makes a shell complete our commands and options."""
    for line in SHELLS[arguments.shell](make_parser()):
        print(line)
    return 0


def bash(parser: CommandParser) -> Iterator[str]:
    """Yield what bash reads, from ``/etc/bash_completion.d/`` or by ``source``."""
    yield "_registry_cache() {"
    yield '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" verb="" word words'
    yield '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield f'        case "$word" in {"|".join(parser.commands)}) verb="$word"; break ;; esac'
    yield "    done"
    yield '    case "$previous" in'
    for names, choices in _values(parser).items():
        words = f'$(compgen -W "{" ".join(choices)}" -- "$current")' if choices else '$(compgen -f -- "$current")'
        yield f"        {'|'.join(names)}) COMPREPLY=({words}); return ;;"
    yield "    esac"
    yield '    case "$verb" in'
    yield f'        "") words="{" ".join([*parser.commands, *_options(parser)])}" ;;'
    for name, each in parser.commands.items():
        yield f'        {name}) words="{" ".join([*_options(each), *_words(each)])}" ;;'
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$current"))'
    if files := [name for name, each in parser.commands.items() if _takes_files(each)]:
        yield f'    case "$verb" in {"|".join(files)}) COMPREPLY+=($(compgen -f -- "$current")) ;; esac'
    yield "}"
    yield f"complete -o filenames -F _registry_cache {PROGRAM}"


def zsh(parser: CommandParser) -> Iterator[str]:
    """Yield what zsh reads, from a file ``_registry-cache`` in a folder of its ``fpath``."""
    yield f"#compdef {PROGRAM}"
    yield "_registry_cache() {"
    yield "    local -a verbs"
    yield "    local state line"
    described = " ".join(_quoted(f"{name}:{each.description}") for name, each in parser.commands.items())
    yield f"    verbs=({described})"
    yield f"    _arguments -C {' '.join(map(_zsh, parser.arguments))} '1:command:->verb' '*::argument:->rest'"
    yield '    case "$state" in'
    yield "        verb) _describe command verbs ;;"
    yield '        rest) case "$line[1]" in'
    for name, each in parser.commands.items():
        yield f"            {name}) _arguments {' '.join(map(_zsh, each.arguments))} ;;"
    yield "        esac ;;"
    yield "    esac"
    yield "}"
    # Read from fpath, the file is the function's body; read by source, it only defines it.
    yield f'if [ "$funcstack[1]" = "_{PROGRAM}" ]; then'
    yield '    _registry_cache "$@"'
    yield "else"
    yield f"    compdef _registry_cache {PROGRAM}"
    yield "fi"


def fish(parser: CommandParser) -> Iterator[str]:
    """Yield what fish reads, from ``~/.config/fish/completions/registry-cache.fish``."""
    start = f"complete -c {PROGRAM}"
    yield f"{start} -f"
    for name, each in parser.commands.items():
        yield f"{start} -n __fish_use_subcommand -a {name} -d {_quoted(each.description or '')}"
    yield from (f"{start} {_fish(each)}" for each in parser.arguments if each.names)
    for name, each in parser.commands.items():
        seen = f"-n {_quoted(f'__fish_seen_subcommand_from {name}')}"
        yield from (f"{start} {seen} {_fish(argument)}" for argument in each.arguments if argument.names)
        if words := _words(each):
            yield f"{start} {seen} -a {_quoted(' '.join(words))}"
        if _takes_files(each):
            yield f"{start} {seen} -F"


def _options(parser: CommandParser) -> list[str]:
    return [*HELP, *(name for each in parser.arguments for name in each.names)]


def _words(parser: CommandParser) -> list[str]:
    """Return the words that may stand where no option does."""
    return [word for each in parser.arguments if not each.names for word in each.choices]


def _takes_files(parser: CommandParser) -> bool:
    return any(each.value in FILES for each in parser.arguments if not each.names)


def _values(parser: CommandParser) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the options whose value can be completed: to what it may be, () for a file."""
    found = [each for one in (parser, *parser.commands.values()) for each in one.arguments if each.names]
    return {each.names: each.choices for each in found if each.choices or each.value in FILES}


def _zsh(each: Argument) -> str:
    action = f"({' '.join(each.choices)})" if each.choices else "_files" if each.value in FILES else " "
    label = each.value.replace(":", r"\:")
    if not each.names:
        return _quoted(f"{'*' if each.is_many else ''}{':' if each.is_optional else ''}:{label}:{action}")
    words = each.help.replace("[", r"\[").replace("]", r"\]").replace(":", r"\:")
    return _quoted(f"{each.names[0]}[{words}]" + (f":{label}:{action}" if each.value else ""))


def _fish(each: Argument) -> str:
    name = f"-l {each.names[-1].lstrip('-')}"
    choices = f" -x -a {_quoted(' '.join(each.choices))}" if each.choices else ""
    value = choices or (" -r -F" if each.value in FILES else " -x" if each.value else "")
    return f"{name}{value} -d {_quoted(each.help)}"


def _quoted(text: str) -> str:
    return shlex.quote(text)


SHELLS: dict[str, Callable[[CommandParser], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
