"""Print pip constraints that pin what is required to run and to test to its lower bounds: ``lowest.py setup.cfg``.

Every requirement there must state one, or this fails: a bound that nobody installs is a promise that nobody checks.
"""

import configparser
import re
import sys
from collections.abc import Iterator

REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[a-z,]+\])?\s*>=\s*(?P<version>[0-9][0-9.]*)(, < [0-9.]+)?")


def lowest(setup_cfg: str) -> Iterator[str]:
    """Yield a constraint for each requirement in the text of a setup.cfg. Raises ValueError for one without bound."""
    parser = configparser.ConfigParser()
    parser.read_string(setup_cfg)
    requirements = parser["options"]["install_requires"] + parser["options.extras_require"]["test"]
    for line in filter(None, map(str.strip, requirements.splitlines())):
        match = REQUIREMENT.fullmatch(line)
        if match is None:
            raise ValueError(f"no lower bound that could be installed: {line}")
        yield f"{match['name']}=={match['version']}"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        print("\n".join(lowest(file.read())))
