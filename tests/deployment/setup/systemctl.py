#!/usr/bin/python3
"""Stands in for systemctl where systemd is not process 1, as in a container or a namespace.

It knows what the documents type, and no more; a unit that is started must be where systemd would look for it, and runs
as its user, with its folders, its environment and its command. Its sandbox is systemd's alone.
"""

import configparser
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

UNITS = Path("/etc/systemd/system")
SCRATCH = Path(os.environ["SCRATCH"])
STOP_SECONDS = 60.0
SERVICE, SOCKET = "registry-cache.service", "registry-cache.socket"
# Short, and gone with the machine: who holds the socket gives it out here.
HELD = "/run/held"
# Becomes the service: its process id must be in its environment.
HAND_OVER = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'


def main(words: list[str]) -> None:
    names = [word if "." in word else f"{word}.service" for word in words[1:]]
    if words == ["daemon-reload"]:
        return
    if words == ["restart", "docker"]:
        json.loads(Path("/etc/docker/daemon.json").read_text(encoding="utf-8"))
    elif words[:2] == ["enable", "--now"]:
        for name in names[1:]:
            enable(name)
    elif names in ([SERVICE], [SOCKET, SERVICE]) and words[0] == "restart":
        stop(SERVICE)
        for name in names:
            enable(name)
    elif words == ["reload", "registry-cache"]:
        reload(SERVICE)
    elif words == ["restart", "nginx"]:
        subprocess.run(["nginx"], check=True, timeout=STOP_SECONDS)
    elif words == ["reload", "nginx"]:
        # A certificate's hook, before there is one that it is for: Debian's nginx runs by then, and here none does.
        subprocess.run(["nginx", "-t"], check=True, timeout=STOP_SECONDS)
    else:
        sys.exit(f"unknown to {__file__}: systemctl {shlex.join(words)}")


def enable(name: str) -> None:
    # The last assignment counts, as configparser has it: the empty ones before it take back what the unit itself says.
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.read([UNITS / name, *sorted((UNITS / f"{name}.d").glob("*.conf"))], encoding="utf-8")
    assert unit["Install"]["WantedBy"]
    if "Timer" in unit:
        assert (UNITS / name).with_suffix(".service").is_file()
    if "Socket" in unit:
        listen(unit["Socket"])
    if "Service" in unit:
        start(name, unit["Service"])


def listen(wanted: configparser.SectionProxy) -> None:
    """Listen as a process of its own, which hands the socket to each service that starts."""
    address = wanted["ListenStream"]
    if address.startswith("/"):
        Path(address).parent.mkdir(exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        shutil.chown(address, wanted["SocketUser"], wanted["SocketGroup"])
        os.chmod(address, int(wanted["SocketMode"], 8))
    else:
        host, _, port = address.rpartition(":")
        listener = socket.create_server((host, int(port)))
    listener.listen(int(wanted["Backlog"]))
    Path(HELD).unlink(missing_ok=True)
    giving = socket.socket(socket.AF_UNIX)
    giving.bind(HELD)
    giving.listen()
    if os.fork() == 0:
        while True:
            asking, _ = giving.accept()
            with asking:
                socket.send_fds(asking, [b"socket"], [listener.fileno()])


def held() -> int | None:
    """A descriptor of the socket; None where none is listened on."""
    if not os.path.exists(HELD):
        return None
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(HELD)
        return socket.recv_fds(asking, 64, 1)[1][0]


def start(name: str, service: configparser.SectionProxy) -> None:
    user, group = service["User"], service["Group"]
    folder("/var/lib", service["StateDirectory"], service["StateDirectoryMode"], user, group)
    folder("/run", service["RuntimeDirectory"], "0755", user, group)
    as_user, environment = identity(service)
    listener = held()
    if listener is not None:
        # The first that a service is given is number 3.
        os.dup2(listener, 3)
        as_user = ["sh", "-c", HAND_OVER, "sh", *as_user]
    with (SCRATCH / "journal").open("ab") as journal:
        process = subprocess.Popen(
            [*as_user, *shlex.split(service["ExecStart"])],
            env=environment,
            cwd="/",
            umask=int(service["UMask"], 8),
            stdin=subprocess.DEVNULL,
            stdout=journal,
            stderr=journal,
            pass_fds=[3] if listener is not None else [],
            start_new_session=True,
        )
    (SCRATCH / name).write_text(str(process.pid), encoding="utf-8")


def identity(service: configparser.SectionProxy) -> tuple[list[str], dict[str, str]]:
    """What makes a command the service's user, and the environment that it has."""
    variable, _, value = service["Environment"].partition("=")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": "/opt/dependencies", variable: value}
    return ["setpriv", f"--reuid={service['User']}", f"--regid={service['Group']}", "--init-groups", "--"], environment


def reload(name: str) -> None:
    """One command after the other, to the first that fails."""
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=["="])
    unit.read(UNITS / name, encoding="utf-8")
    as_user, environment = identity(unit["Service"])
    process = (SCRATCH / name).read_text(encoding="utf-8")
    for command in re.findall(r"^ExecReload=(.+)$", (UNITS / name).read_text(encoding="utf-8"), re.MULTILINE):
        words = [process if word == "$MAINPID" else word for word in shlex.split(command)]
        if status := subprocess.run([*as_user, *words], env=environment, check=False, timeout=STOP_SECONDS).returncode:
            sys.exit(status)


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
