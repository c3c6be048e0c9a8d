#!/usr/bin/python3
"""Stands in for systemctl where systemd is not process 1, as in a container or a namespace.

It knows what docs/deploying.md types, and no more; a unit that is started must be where systemd would look for it, and
runs as its user, with its folders, its environment and its command. Its sandbox is systemd's alone.
"""

import configparser
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")


def main(words: list[str]) -> None:
    if words == ["daemon-reload"]:
        return
    if words == ["restart", "docker"]:
        json.loads(Path("/etc/docker/daemon.json").read_text(encoding="utf-8"))
    elif words[:2] == ["enable", "--now"]:
        for name in words[2:]:
            enable(name)
    else:
        sys.exit(f"unknown to {__file__}: systemctl {shlex.join(words)}")


def enable(name: str) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.read_string((UNITS / name).read_text(encoding="utf-8"))
    assert unit["Install"]["WantedBy"]
    if "Timer" in unit:
        assert (UNITS / name).with_suffix(".service").is_file()
    if "Service" in unit:
        start(unit["Service"])


def start(service: configparser.SectionProxy) -> None:
    user = service["User"]
    state = Path("/var/lib", service["StateDirectory"])
    state.mkdir(mode=int(service["StateDirectoryMode"], 8), exist_ok=True)
    shutil.chown(state, user, service["Group"])
    name, _, value = service["Environment"].partition("=")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/opt/dependencies", name: value}
    as_user = ["setpriv", f"--reuid={user}", f"--regid={service['Group']}", "--init-groups", "--"]
    with open(os.environ["SCRATCH"] + "/journal", "wb") as journal:
        subprocess.Popen(
            [*as_user, *shlex.split(service["ExecStart"])],
            env=environment,
            cwd="/",
            umask=int(service["UMask"], 8),
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            start_new_session=True,
        )


main(sys.argv[1:])
