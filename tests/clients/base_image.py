"""A substitute for Docker Hub's `python:…-slim`: a root file system made of this machine's files, without a network.

Debian's shell, coreutils and account programs, the interpreter that runs the tests (whatever its version), and what an
index would have told pip. Everything lies where it lies here, so that nothing has to be relocated.
"""

import io
import os
import re
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

from tests.harness.components import require
from tests.harness.distributions import installed_files, make_wheel
from tests.harness.programs import run, succeed
from tools.constraints import closure

# Debian packages whose files under bin, sbin and etc RUN instructions need.
PACKAGES = ("coreutils", "dash", "login", "passwd")
FROM_PACKAGES = re.compile(r"(/usr)?/s?bin/.+|/etc/.+")
INTERPRETER = Path(os.path.realpath(sys.executable))
# Parts of the standard library that no server uses. The real image has no byte code either.
LEFT_OUT = re.compile(
    r"test|tests|idlelib|tkinter|turtledemo|lib2to3|config-.*|(site|dist)-packages|__pycache__|_tkinter.*"
)
WHEELHOUSE = PurePosixPath("/wheelhouse")
BUILDS = "setuptools"  # of pyproject.toml's build-system
PATH = f"{INTERPRETER.parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
    "/etc/pip.conf": f"[global]\nno-index = true\nfind-links = {WHEELHOUSE}\ndisable-pip-version-check = true\n",
}
FOLDERS = {"/dev": 0o755, "/proc": 0o755, "/root": 0o755, "/run": 0o755, "/sys": 0o755, "/tmp": 0o1777}  # noqa: S108
MERGED = ("bin", "lib", "lib64", "sbin")  # links into /usr since Debian 12


class Root:
    """A root file system as a tar: each path once, after its folders, owned by root and readable."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._seen: set[str] = set()

    def folder(self, path: str, mode: int = 0o755) -> None:
        name = path.strip("/")
        if name and name not in self._seen:
            self.folder(os.path.dirname(name))
            self._put(name, tarfile.DIRTYPE, mode)

    def link(self, path: str, target: str) -> None:
        self.folder(os.path.dirname(path))
        self._put(path.strip("/"), tarfile.SYMTYPE, 0o777, target=target)

    def text(self, path: str, text: str) -> None:
        self._file(path, text.encode(), 0o644)

    def file(self, path: Path, name: str | None = None) -> None:
        """A file of this machine at its own path; a link is replaced by its target."""
        self._file(name or str(path), path.read_bytes(), path.stat().st_mode | 0o444)

    def _file(self, path: str, data: bytes, mode: int) -> None:
        name = os.path.normpath(path).strip("/")
        top, _, rest = name.partition("/")
        if top in MERGED and Path("/", top).is_symlink():
            name = f"usr/{top}/{rest}"
        if name not in self._seen:
            self.folder(os.path.dirname(name))
            self._put(name, tarfile.REGTYPE, mode, data)

    def _put(self, name: str, kind: bytes, mode: int, data: bytes = b"", target: str = "") -> None:
        self._seen.add(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.size, entry.linkname = kind, mode & 0o7777, len(data), target
        self._archive.addfile(entry, io.BytesIO(data))


def make_base(tar: Path, scratch: Path) -> None:
    """Write the root file system to `tar`."""
    programs, settings = debian_files()
    library = list(standard_library())
    extensions = [path for path in library if path.suffix == ".so"]
    with tarfile.open(tar, "w") as archive:
        root = Root(archive)
        for path, mode in FOLDERS.items():
            root.folder(path, mode)
        for name in MERGED:
            if Path("/", name).is_symlink():
                root.folder(f"usr/{name}")
                root.link(name, f"usr/{name}")
        for path, text in TEXTS.items():
            root.text(path, text)
        for file in (*programs, *settings, *library, *bundled_wheels(), INTERPRETER):
            root.file(file)
        root.link(str(INTERPRETER.with_name("python")), INTERPRETER.name)
        needed = sorted(closure("registry-cache") - {"registry-cache"})
        for library_file in shared_libraries([INTERPRETER, *programs, *extensions, *modules_of(needed)]):
            root.file(library_file)
        for name in (*needed, BUILDS):
            wheel = make_wheel(name, scratch)
            root.file(wheel, str(WHEELHOUSE / wheel.name))


def debian_files() -> tuple[list[Path], list[Path]]:
    """The programs and the settings of PACKAGES."""
    listed = succeed([require("dpkg-query"), "--listfiles", *PACKAGES]).splitlines()
    files = [Path(line) for line in listed if FROM_PACKAGES.fullmatch(line) and Path(line).is_file()]
    return [file for file in files if file.parts[1] != "etc"], [file for file in files if file.parts[1] == "etc"]


def standard_library() -> Iterator[Path]:
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if not LEFT_OUT.fullmatch(name)]
        yield from (Path(folder, name) for name in files if not LEFT_OUT.fullmatch(name))


def bundled_wheels() -> list[Path]:
    """The wheels of ensurepip, if the distributor keeps them outside of the standard library."""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR")
    return sorted(Path(folder).glob("*.whl")) if folder else []


def modules_of(names: Iterable[str]) -> list[Path]:
    """The extension modules of installed distributions."""
    found = [distribution(name) for name in names]
    return [
        Path(str(each.locate_file(file))) for each in found for file in installed_files(each) if ".so" in file.suffixes
    ]


def shared_libraries(files: Iterable[Path]) -> list[Path]:
    """The libraries that ldd finds, without those that come with the wheels."""
    ldd = run([require("ldd"), *map(str, files)]).stdout  # it fails for scripts
    named = set(re.findall(r"(?:=>|^)\s+(/\S+) \(0x", ldd, re.MULTILINE))
    return [Path(name) for name in sorted(named) if not name.startswith(sysconfig.get_path("purelib"))]
