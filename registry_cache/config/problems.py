"""What is wrong with a configuration, in words an operator can act on."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from registry_cache.runtime.log import Format


class InvalidValue(Exception):
    """A value that cannot be: what is wrong with it, and what would be right. Never quotes a secret."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Problem:
    """``path`` is the dotted path in the file or a variable's name; ``where`` a line or the variable that set it."""

    path: str
    what: str
    remedy: str
    where: str = ""

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        return f"{self.path}{where}: {self.what}; {self.remedy}"


class ConfigError(Exception):
    """Everything that is wrong with one configuration, at once. ``str()`` is the report, one line a problem.

    ``formatter`` is its ``log.formatter``, as far as that could be read.
    """

    def __init__(self, source: str, problems: Iterable[Problem], formatter: Format) -> None:
        self.source = source
        self.problems = tuple(problems)
        self.formatter = formatter
        super().__init__(source, self.problems)

    def renamed(self, path: str, name: str) -> "ConfigError":
        """Return the same, with what is wrong at ``path`` under the ``name`` that the operator typed."""
        problems = [replace(each, path=name) if each.path == path else each for each in self.problems]
        return ConfigError(self.source, problems, self.formatter)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{self.source}: {count} problem{'s' if count != 1 else ''} in the configuration"
        return "\n".join([head, *(f"  {problem}" for problem in self.problems)])
