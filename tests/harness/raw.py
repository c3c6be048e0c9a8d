"""A server that says exactly the bytes it is given, for what no HTTP library would emit."""

import contextlib
import socket
import threading

REQUEST_END = b"\r\n\r\n"
IDLE_SECONDS = 60.0  # for a client that connects and never asks


class RawServer:
    """Answers the first request of connection i with `answers[i]` (the last one again and again), then closes."""

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[bytes] = []  # the head of each request, as it came
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(IDLE_SECONDS)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):  # a client that left early
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(IDLE_SECONDS)
        head = b""
        while REQUEST_END not in head and (received := connection.recv(65536)):
            head += received
        self.requests.append(head)
        connection.sendall(self._answers[min(len(self.requests), len(self._answers)) - 1])


class Endless:
    """Sends ``begin``, and then ``piece`` again and again, with ``pause`` seconds between, while anybody takes it."""

    def __init__(self, begin: bytes, piece: bytes, pause: float = 0.0) -> None:
        self.sent = 0
        self.is_over = threading.Event()
        self._said = begin, piece, pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        begin, piece, pause = self._said
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(IDLE_SECONDS)
                    connection.recv(65536)
                    connection.sendall(begin)
                    while not self.is_over.wait(pause):
                        connection.sendall(piece)
                        self.sent += len(piece)

    def stop(self) -> None:
        self.is_over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
