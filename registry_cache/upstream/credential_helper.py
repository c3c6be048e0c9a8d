"""Credentials from a program that speaks Docker's credential-helper protocol, as ECR's helper does.

``docker-credential-NAME get`` reads a server's URL on standard input and writes ``{"Username": …, "Secret": …}``
(docker-credential-helpers, "Development"). What it writes to standard error is for the log; its answer never is.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from registry_cache.errors import UpstreamUnavailable
from registry_cache.runtime.log import Log
from registry_cache.upstream.auth import Credentials

# A helper that asks a cloud takes a second or two.
HELPER_SECONDS = 5.0
# What was killed is gone at once, unless the kernel itself hangs.
_KILL_SECONDS = 1.0
# An answer is one small JSON object; ECR's secrets have under 4 KiB.
MAX_ANSWER = 64 * 1024
# How soon it is asked again after it failed.
FAILED_SECONDS = 10.0
# How long an answer is used where the configuration does not say: ECR's passwords are good for twelve hours.
DEFAULT_LIFETIME = timedelta(minutes=10)

# In place of a user name: the secret is a refresh token for a registry's token server, and no password (Docker's
# command line, "docker login").
_NO_USERNAME = "<token>"

_log = Log(__name__)


class _IdentityToken(Exception):
    """An answer without a password."""


class CredentialHelper:
    """Asks ``program`` for the credentials of ``server`` and keeps them for ``lifetime``."""

    def __init__(
        self,
        program: str,
        server: str,
        lifetime: timedelta | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._program = program
        self._server = server
        self._lifetime = (DEFAULT_LIFETIME if lifetime is None else lifetime).total_seconds()
        self._clock = clock
        self._mutex = threading.Lock()
        self._kept: Credentials | UpstreamUnavailable | None = None
        self._until = 0.0

    def credentials(self) -> Credentials:
        """Return them, asking the program once for all who wait. Raises UpstreamUnavailable with what went wrong.

        A failure is kept for a while, too: a helper that hangs must not hold up every pull.
        """
        with self._mutex:
            if self._kept is None or self._clock() >= self._until:
                self._kept = self._ask()
                failed = isinstance(self._kept, UpstreamUnavailable)
                self._until = self._clock() + (FAILED_SECONDS if failed else self._lifetime)
            if isinstance(self._kept, UpstreamUnavailable):
                raise UpstreamUnavailable(self._kept.message)
            return self._kept

    def forget(self, refused: Credentials) -> None:
        """Ask the program again, though an answer is good for longer: it was refused. One that came since is kept."""
        with self._mutex:
            if self._kept == refused:
                self._kept = None

    def _ask(self) -> Credentials | UpstreamUnavailable:
        said = None
        try:
            return _parse(_run([self._program, "get"], self._server.encode()))
        except subprocess.CalledProcessError as error:
            cause = f"exit status {error.returncode}"
            said = error.stderr.decode("utf-8", "replace").strip()[:200]
        except subprocess.TimeoutExpired:
            cause = f"no answer in {HELPER_SECONDS:.0f} s"
        except OSError as error:
            cause = error.strerror or type(error).__name__
        except _IdentityToken:
            cause = "it gave an identity token and no password, and this cache does not use such tokens"
        except (ValueError, KeyError, TypeError, RecursionError):
            cause = "its answer is not a JSON object with Username and Secret"
        # What it said may name accounts and sessions; the error's message goes to clients.
        _log.error("the credential helper failed", program=self._program, cause=cause, said=said)
        return UpstreamUnavailable(f"the credential helper {self._program} failed: {cause}")


def _run(command: list[str], given: bytes) -> bytes:
    """Return what a program writes, as subprocess.run does, in HELPER_SECONDS whatever its children do.

    Not by pipes: a child that inherits one holds up whoever reads it until it ends, too. What is in memory is whole as
    soon as the program itself has ended.
    """
    with _memory(given) as stdin, _memory() as stdout, _memory() as stderr:
        process = subprocess.Popen(  # noqa: S603 — the operator names the program; no shell
            command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            status = process.wait(HELPER_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_KILL_SECONDS)
            raise
        if status != 0:
            raise subprocess.CalledProcessError(status, command, stderr=os.pread(stderr, MAX_ANSWER, 0))
        return os.pread(stdout, MAX_ANSWER, 0)


@contextlib.contextmanager
def _memory(content: bytes = b"") -> Iterator[int]:
    """Yield a descriptor of memory that holds ``content``, at its beginning; nothing of it is ever on a disk."""
    descriptor = os.memfd_create("credential-helper")
    try:
        os.pwrite(descriptor, content, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _parse(answer: bytes) -> Credentials:
    """Return what an answer holds. Raises ValueError, KeyError, TypeError where it holds none, _IdentityToken."""
    found = json.loads(answer)
    username, secret = found["Username"], found["Secret"]
    if not (isinstance(username, str) and isinstance(secret, str)):
        raise TypeError
    if username == _NO_USERNAME:
        raise _IdentityToken
    return Credentials(username, secret)
