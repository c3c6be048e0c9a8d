"""Print pip constraints with the exact versions, of all that a distribution requires, that are installed here:
``constraints.py DISTRIBUTION``. `make dist` puts them beside the wheel: what was tested can be installed again.
"""

import importlib.metadata
import re
import sys

from packaging.requirements import Requirement


def normal(distribution: str) -> str:
    """One spelling of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def closure(distribution: str, extras: frozenset[str] = frozenset(), seen: frozenset[str] = frozenset()) -> set[str]:
    """The distribution and all that it requires, directly or not."""
    found = {distribution}
    for text in importlib.metadata.requires(distribution) or ():
        requirement = Requirement(text)
        marker, name = requirement.marker, normal(requirement.name)
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras})
        if wanted and name not in seen:
            found |= closure(name, frozenset(requirement.extras), seen | found)
    return found


if __name__ == "__main__":
    for name in sorted(closure(sys.argv[1]) - {sys.argv[1]}):
        print(f"{name}=={importlib.metadata.version(name)}")
