"""Run by `unshare`, as root of namespaces of its own: `inside.py SCRATCH SITE_PACKAGES SCRIPT`.

The machine's files are there, and what is written to them goes to memory. Then SCRIPT runs in SCRATCH/checkout, with
the programs in SCRATCH/bin before Debian's own.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

WRITTEN_TO = ("/etc", "/opt", "/run", "/usr/local", "/var/lib", "/var/log")
INSTALLED = ("/etc/registry-cache", "/opt/registry-cache", "/usr/local/bin/registry-cache", "/var/lib/registry-cache")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"
SECONDS = 150


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, timeout=SECONDS)


def forget(path: Path) -> None:
    """A mirror that this machine runs, or ran: its files would be taken for those that the page's commands make."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main(scratch: Path, site_packages: str, script: str) -> int:
    memory = scratch / "memory"
    memory.mkdir()
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "tmpfs", str(memory))
    for folder in WRITTEN_TO:
        upper, work = memory / "upper" / folder[1:], memory / "work" / folder[1:]
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}", folder)
    for path in map(Path, INSTALLED):
        forget(path)
    # Where the service's user may read them, wherever the checkout lies.
    Path("/opt/dependencies").mkdir()
    mount("--bind", site_packages, "/opt/dependencies")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=SECONDS)
    environment = {"PATH": f"{scratch / 'bin'}:{PATH}", "HOME": "/root", "SCRATCH": str(scratch)}
    # The dependencies come from above, and the wheel from dist/: nothing from an index.
    environment |= {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_ROOT_USER_ACTION": "ignore", "PIP_NO_CACHE_DIR": "1"}
    return subprocess.run(
        ["sh", "-eux", script], cwd=scratch / "checkout", env=environment, check=False, timeout=SECONDS
    ).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
