"""What programs of the tests leave behind is ended with their folder, and nothing else is."""

import os
import select
import subprocess

from tests.harness.programs import short_folder

SECONDS = 30.0


def pause(folder: str) -> tuple[subprocess.Popen[bytes], int]:
    """What podman leaves for an ordinary user, as far as its environment tells; and its pidfd."""
    environment = {"PATH": os.environ["PATH"], "_PODMAN_PAUSE": "1", "HOME": f"{folder}/home"}
    process = subprocess.Popen(["sleep", "600"], env=environment)
    return process, os.pidfd_open(process.pid)


def test_podmans_pauses_end_with_their_folder() -> None:
    other, _ = pause("/elsewhere")
    with short_folder() as folder:
        own, descriptor = pause(str(folder))
        assert own.poll() is None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(SECONDS * 1000)
    assert own.wait() < 0
    assert other.poll() is None
    other.kill()
    other.wait()
