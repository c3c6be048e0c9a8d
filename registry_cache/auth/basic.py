"""HTTP basic authentication (RFC 7617): what a client sends, and what it is asked for. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

# bcrypt reads no further: longer passwords would all be the same behind it.
LONGEST_PASSWORD = 72


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, as bytes: clients do not say in which encoding they are."""

    user: bytes
    password: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The user's name, for a log."""
        return self.user[:64].decode(errors="replace")

    @property
    def possible(self) -> bool:
        """Whether bcrypt could have hashed this password: it is not longer than that, and htpasswd takes no NUL."""
        return len(self.password) <= LONGEST_PASSWORD and b"\0" not in self.password


class MalformedHeader(Exception):
    """A header that is no user name with a password."""


def parse(header: str | None) -> Login | None:
    """Return what an ``Authorization`` header says; None where there is none, or one of another scheme.

    ``header`` is Latin-1, as WSGI has it. Raises MalformedHeader.
    """
    scheme, _, value = (header or "").strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedHeader("is not base64") from error
    user, colon, password = decoded.partition(b":")
    if not colon:
        raise MalformedHeader("holds no colon")
    return Login(user, password)


def challenge(realm: str) -> str:
    """Return the ``WWW-Authenticate`` header that asks for a login, as Latin-1 (RFC 9110 §5.6.4, §11.6.1)."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted.encode().decode("latin-1")}"'
