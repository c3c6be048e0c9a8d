"""Many clients of one blob on one thread: `crowd.py HOST:PORT PATH COUNT < the expected bytes`.

Prints "reading" once every client has received its first body byte (or has ended), and a line of JSON when all have
ended. Bytes are compared in the buffer that recv filled, without a copy or a hash, so that a thousand clients leave the
processors to the server. Imports nothing of the harness, to start fast.
"""

import json
import resource
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass

CHUNK = 256 * 1024
HEAD_END = b"\r\n\r\n"
SPARE_DESCRIPTORS = 64


@dataclass(eq=False)
class Client:
    """One connection; `received` counts body bytes, all of them right so far if `right`."""

    connection: socket.socket
    head: bytes = b""
    status: str = ""
    received: int = 0
    right: bool = True

    def take(self, data: memoryview, expected: bytes) -> None:
        """Account for what arrived."""
        if not self.status:
            self.head += data
            head, end, body = self.head.partition(HEAD_END)
            if not end:
                return
            self.status = head.split(b" ", 2)[1].decode()
            data = memoryview(body)
        # `startswith` takes any buffer and compares it in place.
        self.right = self.right and expected.startswith(data, self.received)
        self.received += len(data)


def allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))


def run(address: str, path: str, count: int, expected: bytes) -> dict[str, object]:
    """Pull with `count` clients at once; return the fields of `CrowdResult`."""
    host, port = address.split(":")
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    clients = []
    began = time.monotonic()
    for _ in range(count):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(request)
        connection.setblocking(False)
        clients.append(Client(connection))
        selector.register(connection, selectors.EVENT_READ, clients[-1])
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    silent, running = set(clients), count
    while running:
        for key, _ in selector.select():
            client: Client = key.data
            try:
                size = client.connection.recv_into(buffer)
            except OSError:  # a reset counts as an end
                size = 0
            client.take(view[:size], expected)
            if size == 0 or client.received >= len(expected):
                selector.unregister(client.connection)
                client.connection.close()
                running -= 1
            if client in silent and (client.received or size == 0):
                silent.discard(client)
                if not silent:
                    print("reading", flush=True)
    whole = [client for client in clients if client.received == len(expected)]
    return {
        "right": sum(client.right and client.status == "200" for client in whole),
        "wrong": sum(not client.right and client.status == "200" for client in clients),
        "short": count - len(whole),
        "statuses": Counter(client.status for client in clients),
        "seconds": time.monotonic() - began,
    }


if __name__ == "__main__":
    allow_descriptors(int(sys.argv[3]))
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.buffer.read())), flush=True)
