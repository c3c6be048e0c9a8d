#!/usr/bin/python3
"""Stands in for systemctl where systemd is not process 1, as in a container or a namespace.

It knows what the documents type, and no more; a unit that is started must be where systemd would look for it, and runs
as its user, with its folders, its environment and its command. Its sandbox is systemd's alone.
"""

import configparser
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")
SCRATCH = Path(os.environ["SCRATCH"])
STOP_SECONDS = 60.0


def main(words: list[str]) -> None:
    if words == ["daemon-reload"]:
        return
    if words == ["restart", "docker"]:
        json.loads(Path("/etc/docker/daemon.json").read_text(encoding="utf-8"))
    elif words[:2] == ["enable", "--now"]:
        for name in words[2:]:
            enable(name)
    elif words == ["restart", "registry-cache"]:
        stop("registry-cache.service")
        enable("registry-cache.service")
    elif words == ["restart", "nginx"]:
        subprocess.run(["nginx"], check=True, timeout=STOP_SECONDS)
    elif words == ["reload", "nginx"]:
        # A certificate's hook, before there is one that it is for: Debian's nginx runs by then, and here none does.
        subprocess.run(["nginx", "-t"], check=True, timeout=STOP_SECONDS)
    else:
        sys.exit(f"unknown to {__file__}: systemctl {shlex.join(words)}")


def enable(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.read_string((UNITS / name).read_text(encoding="utf-8"))
    assert unit["Install"]["WantedBy"]
    if "Timer" in unit:
        assert (UNITS / name).with_suffix(".service").is_file()
    if "Service" in unit:
        start(name, unit["Service"])


def start(name: str, service: configparser.SectionProxy) -> None:
    user, group = service["User"], service["Group"]
    folder("/var/lib", service["StateDirectory"], service["StateDirectoryMode"], user, group)
    folder("/run", service["RuntimeDirectory"], "0755", user, group)
    variable, _, value = service["Environment"].partition("=")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/opt/dependencies", variable: value}
    as_user = ["setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--"]
    with (SCRATCH / "journal").open("ab") as journal:
        process = subprocess.Popen(
            [*as_user, *shlex.split(service["ExecStart"])],
            env=environment,
            cwd="/",
            umask=int(service["UMask"], 8),
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            start_new_session=True,
        )
    (SCRATCH / name).write_text(str(process.pid), encoding="utf-8")


def stop(name: str) -> None:
    process = os.pidfd_open(int((SCRATCH / name).read_text(encoding="utf-8")))
    signal.pidfd_send_signal(process, signal.SIGTERM)
    ended, _, _ = select.select([process], [], [], STOP_SECONDS)
    assert ended


def folder(place: str, name: str, mode: str, user: str, group: str) -> None:
    path = Path(place, name)
    path.mkdir(mode=int(mode, 8), exist_ok=True)
    shutil.chown(path, user, group)


main(sys.argv[1:])
