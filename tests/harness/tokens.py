"""The fake token server, and the door it guards: who gets a token for what, and whom the registry lets in."""

import base64
import binascii
import json
import re
import secrets
import threading
import time
from dataclasses import dataclass

from tests.harness.faults import Faults
from tests.harness.journal import Exchange
from tests.harness.wire import Reply

SERVICE = "fake.registry"
SCOPE = re.compile(r"repository:(?P<repository>[^:]+):(?P<actions>.+)")


@dataclass(frozen=True)
class Grant:
    repositories: frozenset[str]
    begins: float  # by time.monotonic(), as the next
    expires: float


class Tokens:
    """Issues tokens and checks them, as the auth knobs of `faults` say."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._grants: dict[str, Grant] = {}
        self._lock = threading.Lock()

    def revoke(self) -> None:
        """No token issued until now is good any more."""
        with self._lock:
            self._grants.clear()

    def issue(self, exchange: Exchange) -> Reply:
        """Answer GET /token?service=…&scope=…"""
        faults = self.faults
        credentials = _basic(exchange)
        if faults.token_status != 200:
            return Reply(faults.token_status, [], b"the token server is unwell")
        if credentials is not None and faults.users.get(credentials[0]) != credentials[1]:
            return Reply(401, [], b'{"details":"incorrect username or password"}')
        scopes = " ".join(exchange.query.get("scope", [])).split()
        asked = {match["repository"] for scope in scopes if (match := SCOPE.fullmatch(scope))}
        granted = asked if credentials else asked - faults.private
        token = secrets.token_hex(faults.token_size // 2 + 1)[: faults.token_size]
        with self._lock:
            now = time.monotonic()
            self._grants[token] = Grant(frozenset(granted), now + faults.token_begins, now + faults.token_seconds)
        says = int(faults.token_seconds) if faults.token_says is None else faults.token_says
        body = json.dumps({faults.token_field: token, "expires_in": says}).encode()
        return Reply(200, [("Content-Type", "application/json")], body)

    def refusal(self, exchange: Exchange, repository: str | None, realm: str) -> Reply | None:
        """A 401 with its challenge, or None: come in. `repository` is None for /v2/ itself."""
        faults, error = self.faults, ""
        if faults.require_basic:
            if _basic(exchange) == faults.require_basic:
                return None
            return self._challenge([f'Basic realm="{SERVICE}"'])
        if not faults.require_token and repository not in faults.private:
            return None
        scheme, _, token = exchange.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            with self._lock:
                grant = self._grants.get(token)
            if grant is None or not grant.begins <= time.monotonic() <= grant.expires:
                error = ',error="invalid_token"'
            elif repository is None or repository in grant.repositories:
                return None
            else:
                error = ',error="insufficient_scope"'
        scope = f',scope="repository:{repository}:pull"' if repository else ""
        return self._challenge([f'Bearer realm="{faults.realm or realm}",service="{SERVICE}"{scope}{error}'])

    def _challenge(self, ours: list[str]) -> Reply:
        lines = ours if self.faults.challenges is None else self.faults.challenges
        headers = [("WWW-Authenticate", line) for line in lines]
        return Reply(401, headers, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}')


def _basic(exchange: Exchange) -> tuple[str, str] | None:
    """The user and password the request came with."""
    scheme, _, value = exchange.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(value).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return user, password
