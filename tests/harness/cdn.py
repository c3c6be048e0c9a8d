"""The second host that a fake upstream redirects blobs to: it must be reached by its presigned URL alone."""

import secrets
import threading

from tests.harness.faults import BodyFaults
from tests.harness.journal import Exchange
from tests.harness.loopback import Loopback
from tests.harness.upstream import bytes_reply
from tests.harness.wire import Reply

# Another address than the upstream's, not just another port: cookies do not tell ports apart.
HOST = "127.0.0.2"
FORBIDDEN = ("Authorization", "Cookie")


class FakeCdn(Loopback):
    """Serves what was presigned. Credentials sent here are a problem, so the test fails."""

    def __init__(self, host: str = HOST) -> None:
        self.one_use = False  # a presigned URL is good for one request only, then 403
        self.get_only = False  # it is signed for a GET: 403 to a HEAD
        self.status = 200  # answer this instead, e.g. 503
        self.challenge: str | None = None  # answer 401 with this WWW-Authenticate
        self._presigned: dict[str, tuple[bytes, BodyFaults]] = {}
        self._presigned_lock = threading.Lock()
        super().__init__(host)

    def presign(self, digest: str, data: bytes, faults: BodyFaults) -> str:
        """A URL of this blob; the body comes with the upstream's faults."""
        signature = secrets.token_hex(16)
        with self._presigned_lock:
            self._presigned[signature] = data, faults
        return f"{self.url}/data/{digest}?signature={signature}"

    def expire(self) -> None:
        """No URL given out until now is good any more."""
        with self._presigned_lock:
            self._presigned.clear()

    def answer(self, exchange: Exchange) -> Reply:
        for name in FORBIDDEN:
            if name in exchange.headers:
                self.problems.append(f"the CDN was sent {name}: {exchange}")
        if self.challenge:
            return Reply(401, [("WWW-Authenticate", self.challenge)])
        if self.status != 200:
            return Reply(self.status)
        if self.get_only and exchange.method == "HEAD":
            return Reply(403)
        signature = exchange.query.get("signature", [""])[0]
        with self._presigned_lock:
            take = self._presigned.pop if self.one_use else self._presigned.get
            found = take(signature, None)
        if found is None:
            return Reply(403, [("Content-Type", "application/xml")], b"<Error><Code>AccessDenied</Code></Error>")
        data, faults = found
        return bytes_reply(data, [("Content-Type", "application/octet-stream")], exchange.headers.get("Range"), faults)
