"""A Redis that answers and refuses is away like one that is gone: said once, with what to do about it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.leases import EPOCH_COMMAND, read
from registry_cache.cluster.membership import Membership
from registry_cache.cluster.redis_address import RedisAddress
from registry_cache.cluster.redis_client import RedisClient
from registry_cache.cluster.redis_refusals import RIGHTS
from tests.harness.near_rig import SEALS
from tests.harness.redis_server import RedisServer

pytestmark = pytest.mark.once

READING = read("rc:1:lead:sha256:1")
# An account, each time of another test.
ACCOUNT = ("ACL", "SETUSER", "cache", "reset", "on", ">secret")


@pytest.fixture(autouse=True)
def never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure Redis is asked again at once."""
    monkeypatch.setattr("registry_cache.cluster.redis_client.AWAY_SECONDS", 0.0)


@contextmanager
def client(server: RedisServer, username: str | None = None, password: str | None = None) -> Iterator[RedisClient]:
    with closing(
        RedisClient(RedisAddress(host="127.0.0.1", port=server.port, username=username, password=password))
    ) as found:
        yield found


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(":")[0] for record in caplog.records if "Redis is" in record.getMessage()]


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "redis.addrs"),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "maxmemory-policy volatile-lru"),
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "min-replicas-to-write",
        ),
        ((*ACCOUNT, "~*", "+@all", "-eval"), (*ACCOUNT, *RIGHTS.split()), f"ACL SETUSER cache {RIGHTS}"),
        ((*ACCOUNT, "~*", "+@all", "-zadd"), (*ACCOUNT, *RIGHTS.split()), f"ACL SETUSER cache {RIGHTS}"),
        ((*ACCOUNT, "~other:*", "+@all"), (*ACCOUNT, *RIGHTS.split()), f"ACL SETUSER cache {RIGHTS}"),
    ],
)
def test_a_redis_that_takes_some_commands_is_away_until_it_takes_all(
    server: RedisServer, caplog: pytest.LogCaptureFixture, begin: tuple[str, ...], end: tuple[str, ...], words: str
) -> None:
    caplog.set_level(logging.INFO, "registry_cache")
    server.ask(*ACCOUNT, *RIGHTS.split())
    with client(server, "cache", "secret") as redis:
        redis.ask(EPOCH_COMMAND)
        assert server.ask(*begin) == b"+OK\r\n"
        try:
            with pytest.raises(RedisAway):
                redis.ask(EPOCH_COMMAND, ("SET", "rc:1:x", "1"), ("EVAL", "redis.call('ZADD', KEYS[1], 1, 1)", 1, "y"))
            for _ in range(3):
                # This alone might be answered.
                with pytest.raises(RedisAway) as away:
                    redis.ask(READING)
                assert words in away.value.remedy
        finally:
            server.ask(*end)
        assert redis.ask(READING) == [b""]
    assert told(caplog) == ["Redis is away", "Redis is back"]
    assert server.ask("KEYS", "rc:1:probe:*") == b"*0\r\n"


def test_an_account_with_the_rights_of_the_document_is_enough(server: RedisServer) -> None:
    server.ask(*ACCOUNT, *RIGHTS.split())
    with client(server, "cache", "secret") as redis:
        one = Membership(redis, SEALS, "one", "http://one")
        one.beat()
        assert [node.name for node in one.look()[0]] == ["one"]


def test_a_changed_password_is_said_and_taken_without_a_restart(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask(*ACCOUNT, "~*", "+@all", "-eval")
    with client(server, "cache", "other") as redis:
        with pytest.raises(RedisAway) as away:
            redis.ask(READING)
        assert "redis.password" in away.value.remedy
        server.ask(*ACCOUNT, ">other", "~*", "+@all", "-eval")
        # Another cause has a line of its own.
        with pytest.raises(RedisAway, match="eval") as away:
            redis.ask(READING)
        server.ask("ACL", "SETUSER", "cache", "+eval")
        redis.ask(READING)
    assert [record.__dict__["fields"]["remedy"][:12] for record in caplog.records] == ["compare redi", "allow the ac"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("LOADING Redis is loading the dataset in memory", "wait"),
        ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist", 'save ""'),
        ("CLUSTERDOWN The cluster is down", "Redis Cluster"),
        ("MOVED 3999 127.0.0.1:6381", "Redis Cluster"),
        ("NOAUTH Authentication required.", "redis.password"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "redis.addrs"),
        ("BUSY Redis is busy running a script.", "whose script"),
        ("ERR max number of clients reached", "maxclients"),
        ("ERR unknown command 'EVAL'", "EVAL"),
        ("ERR something that no Redis says", ""),
    ],
)
def test_what_any_refusal_says(line: str, words: str) -> None:
    with refusing(line) as port, closing(RedisClient(RedisAddress(host="127.0.0.1", port=port))) as redis:
        for _ in range(2):
            with pytest.raises(RedisAway) as away:
                redis.ask(READING)
            assert (words in away.value.remedy, bool(words)) == (True, bool(away.value.remedy))


@contextmanager
def refusing(line: str) -> Iterator[int]:
    """The port of something that answers every command with this error."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                for asked in lines:
                    if asked.startswith(b"*"):
                        connection.sendall(f"-{line}\r\n".encode())

    thread = threading.Thread(target=serve, name=f"refuses with {line}")
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
