"""Wheels made of installed distributions without an index."""

import importlib.metadata
import re
import zipfile
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from tools.constraints import normal

# Written by the installer about this one installation; they do not belong into a wheel.
INSTALLERS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def installed_files(distribution: Distribution) -> list[PurePosixPath]:
    """What its wheel contained below site-packages; an installer makes scripts and byte code anew."""
    return [file for file in distribution.files or () if ".." not in file.parts and file.suffix != ".pyc"]


def make_wheel(name: str, folder: Path) -> Path:
    """Rebuild the wheel that a distribution was installed from, in `folder`."""
    found = importlib.metadata.distribution(name)
    tags = re.findall(r"^Tag: ([^-\s]+)-([^-\s]+)-(\S+)$", found.read_text("WHEEL") or "", re.MULTILINE)
    tag = "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))
    wheel = folder / f"{normal(name).replace('-', '_')}-{found.version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in installed_files(found):
            in_metadata = file.parent.name.endswith(".dist-info")
            if not (in_metadata and file.name in INSTALLERS):
                archive.write(str(found.locate_file(file)), str(file))
            elif file.name == "RECORD":
                archive.writestr(str(file), "")
    return wheel
