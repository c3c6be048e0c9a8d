"""What a bucket may do to a process that asks it: nothing without an end."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from registry_cache.bucket.answer_time import AnswerTime
from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.objects import MOST_MEMORY, Objects
from registry_cache.bucket.settings import BucketSettings
from tests.harness.images import MiB
from tests.harness.waiting import SECONDS

# In a process of its own, whose memory it bounds.
ASK = """
import sys
from registry_cache.bucket import objects as bounds
from registry_cache.bucket.objects import Objects, bound_memory
from registry_cache.bucket.settings import BucketSettings
settings = BucketSettings(
    endpoint_url=sys.argv[1], region="us-east-1", name="b", prefix="", access_key="a", secret_key="s"
)
objects = Objects(settings)
bounds.ANSWER_TIMEOUT_SECONDS = float(sys.argv[3])
bound_memory(int(sys.argv[2]))
print(len(list(objects.find())))
"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"
NOTHING_IMPLEMENTED = b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PAGE = (
    b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>"
    b"<Contents><Key>k</Key><Size>1</Size><LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
    b"</ListBucketResult>"
)


@contextlib.contextmanager
def bucket(
    pieces: Iterator[bytes], *, ends: bool, head: bytes = HEAD, asked: list[bytes] | None = None
) -> Iterator[str]:
    """Answer each request by one of the pieces, or one by all of them; say in ``asked`` what they were."""
    asked = [] if asked is None else asked
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        asked.append(client.recv(65536))
                        client.sendall(head)
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
        assert ask(url, memory=memory).startswith(reason)


def test_an_answer_that_never_begins_has_an_end() -> None:
    """No read of boto3's waits: a head of 100 Continue comes, and another one."""
    with bucket(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), ends=False, head=b"") as url:
        assert ask(url, seconds=0.25) == "its answer has no end in 0.25 s"


def ask(url: str, *, memory: int = MOST_MEMORY, seconds: float = SECONDS) -> str:
    """Return why a bucket is taken to be away."""
    command = [sys.executable, "-c", ASK, url, str(memory), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 1
    kind, _, reason = done.stderr.splitlines()[-1].partition("BucketAway: ")
    assert kind == "registry_cache.bucket.errors.", done.stderr
    return reason


def test_a_bucket_that_can_do_nothing_is_asked_once_more_without_a_condition() -> None:
    """It answers 501 to whatever it is asked, as one does that does not know conditions."""
    asked: list[bytes] = []
    with bucket(itertools.repeat(NOTHING_IMPLEMENTED), ends=True, head=b"", asked=asked) as url:
        settings = BucketSettings(
            endpoint_url=url, region="us-east-1", name="b", prefix="", access_key="a", secret_key="s"
        )
        with pytest.raises(BucketAway, match="501"):
            Objects(settings).put("key", b"data", 4)
    assert ["if-none-match" in each.decode().lower() for each in asked] == [True, False]


LOCKED = (
    b"<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code></Error>"
    b"<Error><Key>b</Key><Code>AccessDenied</Code><Message>locked</Message></Error></DeleteResult>"
)


def test_what_a_bucket_refuses_to_delete_is_told_and_the_request_is_one_that_all_object_stores_take() -> None:
    """It answers 200, and in its body what it has not deleted. Some refuse a request without Content-MD5."""
    asked: list[bytes] = []
    with bucket(iter([LOCKED]), ends=True, asked=asked) as url:
        settings = BucketSettings(
            endpoint_url=url, region="us-east-1", name="b", prefix="", access_key="a", secret_key="s"
        )
        with pytest.raises(ObjectRefused, match="AccessDenied locked"):
            Objects(settings).delete(["a", "b"])
    head = asked[0].partition(b"\r\n\r\n")[0].decode().lower()
    assert "\ncontent-md5: " in head
    assert "content-md5" in head.partition("signedheaders=")[2].partition(",")[0]


def test_a_thread_that_still_waits_for_an_answer_is_told_of() -> None:
    come, left = threading.Event(), threading.Event()

    with pytest.raises(BucketAway):
        AnswerTime(left.set).within(0.01, come.wait)

    assert left.is_set()
    come.set()


def test_what_asking_raises_is_raised() -> None:
    left = threading.Event()

    with pytest.raises(TimeoutError, match="of its own"):
        AnswerTime(left.set).within(SECONDS, Mock(side_effect=TimeoutError("of its own")))

    assert not left.is_set()
