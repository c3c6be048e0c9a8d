"""HTTP basic authentication (RFC 7617): parse what a client sends, write the challenge. Pure."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

# bcrypt ignores what follows: longer passwords that begin alike would all match.
LONGEST_PASSWORD = 72


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, as bytes: clients do not say their encoding."""

    user: bytes
    password: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """The user's name, for a log."""
        return self.user[:64].decode(errors="replace")

    @property
    def fault(self) -> str | None:
        """Why no htpasswd file can have this password, whoever's it is; None where one can."""
        if len(self.password) > LONGEST_PASSWORD:
            return (
                f"this password has {len(self.password)} bytes, and bcrypt would compare only the first "
                f"{LONGEST_PASSWORD}: choose a shorter one, in the htpasswd file as well"
            )
        return "this password holds a NUL, which bcrypt cannot compare" if b"\0" in self.password else None


class MalformedHeader(Exception):
    """A header without a user name and a password."""


def parse(header: str | None) -> Login | None:
    """Return what an ``Authorization`` header says; None where it is missing, of another scheme, or names nobody.

    skopeo and podman without a login answer a challenge with an empty name and an empty password. ``header`` is
    Latin-1, as in WSGI. Raises MalformedHeader.
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
    return Login(user, password) if user or password else None


def challenge(realm: str) -> str:
    """Return the ``WWW-Authenticate`` header that asks for a login, as Latin-1 (RFC 9110 §5.6.4, §11.6.1)."""
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted.encode().decode("latin-1")}"'
