"""Processor time: of a node, and of the barest way to send a file over loopback, below which no server comes."""

import os
import socket
import time
from pathlib import Path
from threading import Thread

from tests.harness.server import CacheServer

_BLOCK = 2 * 1024 * 1024


def cpu_seconds(node: CacheServer) -> float:
    """Of all threads of its workers, by nanoseconds: a clock tick for 48 MiB would be 0.2 s a GB."""
    tasks = [task for pid in node.workers() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def cpu_of_a_gigabyte(file: Path) -> float:
    """Seconds of CPU of the thread that sends, for each GB; the reader is another thread and throws all away."""
    with socket.create_server(("127.0.0.1", 0)) as server, file.open("rb") as data:
        reader = Thread(target=_read, args=server.getsockname())
        reader.start()
        connection, _ = server.accept()
        size, at = os.fstat(data.fileno()).st_size, 0
        before = time.thread_time()
        while at < size:
            at += os.sendfile(connection.fileno(), data.fileno(), at, _BLOCK)
        used = time.thread_time() - before
        connection.close()
        reader.join()
    return used / (size / 1e9)


def _read(host: str, port: int) -> None:
    with socket.create_connection((host, port)) as connection:
        buffer = bytearray(_BLOCK)
        while connection.recv_into(buffer):
            pass
