"""Whether a socket's path can be listened on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_cache.server.bind import check_socket_path
from tests.harness.programs import short_folder


@pytest.fixture
def path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder / "http.sock"


@pytest.mark.parametrize("waiting", [0, 2])
def test_a_socket_that_somebody_listens_on_stays_theirs(path: Path, waiting: int) -> None:
    """gunicorn would unlink it, and their clients would find us; with a full queue, too."""
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))

        with pytest.raises(OSError, match="in use") as caught:
            check_socket_path(path)
        assert caught.value.errno == errno.EADDRINUSE
        for client in clients:
            client.close()


def test_one_that_a_killed_server_has_left_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen(1)
    check_socket_path(path)
    path.unlink()
    check_socket_path(path)
