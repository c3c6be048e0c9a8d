"""Who we are to a registry: its credentials, and what it said of them last."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from registry_cache.errors import UpstreamUnavailable

# How long refused credentials are not tried again: many registries lock accounts that repeat a wrong password.
REFUSED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password or access token. Never shown."""

    username: str
    password: str

    def basic(self) -> str:
        """Return the value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()

    def __repr__(self) -> str:
        return "Credentials(…)"


def is_account(authorization: str) -> bool:
    """Whether an Authorization header is an account's own, and not a token."""
    return authorization.startswith("Basic ")


class Account(Protocol):
    """A source of credentials. ``expires``: whether these are good for a while only, as a helper's are."""

    expires: bool

    def credentials(self) -> Credentials | None:
        """Return them; None is anonymous. Raises UpstreamUnavailable."""

    def forget(self, refused: Credentials) -> None:
        """Look again whether they have changed before returning these once more."""


class FixedAccount:
    """An account that stands in the configuration."""

    expires = False

    def __init__(self, credentials: Credentials | None) -> None:
        self._credentials = credentials

    def credentials(self) -> Credentials | None:
        return self._credentials

    def forget(self, refused: Credentials) -> None:
        """Do nothing: the configuration has not changed."""


class AccountUse:
    """An account, whether its credentials can be had, and whether they were refused a moment ago."""

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._clock = clock
        self._suspended_until = self._unchanged_until = 0.0
        self._unchanged: Credentials | None = None
        # The last token was fetched anonymously, because the account was refused.
        self.was_refused = False
        # Whose credentials were returned last; "" for none.
        self.name = ""
        # Why there are no credentials although there should be; then a refusal by the registry is no denial.
        self.trouble: str | None = None

    @property
    def is_missing(self) -> bool:
        """Whether we go on anonymously although there is an account: it was refused, or its helper fails."""
        return self.was_refused or self.trouble is not None

    @property
    def is_configured(self) -> bool:
        """Whether there is an account, even if its helper fails just now."""
        return self.credentials() is not None or self.trouble is not None

    @property
    def is_suspended(self) -> bool:
        """Whether it was refused so recently that it must not be tried again."""
        return self._clock() < self._suspended_until

    def credentials(self) -> Credentials | None:
        """Return them; None where there are none or their helper fails: public images need none.

        A helper that fails is no failure of the registry; the registry is asked anonymously and says what it refuses.
        """
        try:
            found = self._account.credentials()
        except UpstreamUnavailable as error:
            self.trouble, self.name = error.message, ""
            return None
        self.trouble, self.name = None, found.username if found else ""
        return found

    def unless_suspended(self) -> Credentials | None:
        """Return the credentials, or None where they were refused a moment ago."""
        return None if self.is_suspended else self.credentials()

    def replace(self, refused: Credentials) -> Credentials | None:
        """Return other credentials than the ``refused`` ones, where there are any: a password may have changed.

        Those that have not changed are not looked at again for a while: each look may run a program.
        """
        if refused == self._unchanged and self._clock() < self._unchanged_until:
            return None
        self._account.forget(refused)
        found = self.credentials()
        if found == refused:
            self._unchanged, self._unchanged_until = refused, self._clock() + REFUSED_SECONDS
        return found if found != refused else None

    def suspend(self) -> None:
        """Try the account no more for REFUSED_SECONDS."""
        self._suspended_until = self._clock() + REFUSED_SECONDS
        if self._account.expires:
            # Its helper is late with new ones; that is no denial of what they would open.
            self.trouble = "the credentials that the credential helper gives are refused; they may have expired"
