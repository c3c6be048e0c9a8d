"""What a bucket may do to a process that asks it: nothing without an end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from registry_cache.bucket.objects import MOST_MEMORY
from tests.harness.images import MiB
from tests.harness.waiting import SECONDS

# In a process of its own, whose memory it bounds.
ASK = """
import sys
from registry_cache.bucket.objects import Objects, bound_memory
from registry_cache.bucket.settings import BucketSettings
settings = BucketSettings(
    endpoint_url=sys.argv[1], region="us-east-1", name="b", prefix="", access_key="a", secret_key="s"
)
objects = Objects(settings)
bound_memory(int(sys.argv[2]))
print(len(list(objects.find())))
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
PAGE = (
    b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>"
    b"<Contents><Key>k</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
    b"</ListBucketResult>"
)


@contextlib.contextmanager
def bucket(pieces: Iterator[bytes], *, ends: bool) -> Iterator[str]:
    """Answer each request by one of the pieces, or one by all of them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        client.recv(65536)
                        client.sendall(HEAD)
                        for piece in pieces:
                            client.sendall(piece)
                            if ends:
                                break

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    serving.join(SECONDS)
    assert not serving.is_alive()


@pytest.mark.parametrize(
    ("pieces", "ends", "memory", "reason"),
    [
        (itertools.repeat(b"<Contents><Key>k</Key></Contents>" * 3000), False, 256 * MiB, ""),
        ((PAGE % number for number in range(1000)), True, MOST_MEMORY, "its list of objects does not end"),
    ],
    ids=["an answer without an end", "pages without an end"],
)
def test_a_list_has_an_end(pieces: Iterator[bytes], ends: bool, memory: int, reason: str) -> None:
    with bucket(pieces, ends=ends) as url:
        done = subprocess.run(
            [sys.executable, "-c", ASK, url, str(memory)], capture_output=True, text=True, timeout=SECONDS
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"registry_cache.bucket.errors.BucketAway: {reason}")
