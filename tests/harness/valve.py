"""A TCP relay that a test can stop in the middle of an answer: a slow or broken network before a real server."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit

BLOCK = 16 * 1024
CONNECT_SECONDS = 20.0


class Valve:
    """Relays to the server at `url`. After `hold_at` bytes of answers in all, the next wait until `open`.

    `reached` is set when they do.
    """

    def __init__(self, url: str, hold_at: int | None = None) -> None:
        target = urlsplit(url)
        self._target = (str(target.hostname), int(target.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.hold_at = hold_at
        self.reached = threading.Event()
        self._opened = threading.Event()
        self._mutex = threading.Lock()
        self._passed = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """Let everything pass from now on."""
        self.hold_at = None
        self._opened.set()

    def cut(self) -> None:
        """Reset every connection, as a gateway that dies does; new ones are relayed."""
        with self._mutex:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.open()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target, CONNECT_SECONDS)
                except OSError:
                    client.close()
                    continue
                with self._mutex:
                    self._sockets += [client, server]
                threading.Thread(target=self._relay, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._relay, args=(server, client, True), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK):
                if is_answer:
                    self._wait(len(block))
                target.sendall(block)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        if is_answer:
            source.close()
            target.close()

    def _wait(self, size: int) -> None:
        with self._mutex:
            self._passed += size
            holds = self.hold_at is not None and self._passed > self.hold_at
        if holds:
            self.reached.set()
            self._opened.wait()
