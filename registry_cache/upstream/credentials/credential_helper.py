"""Credentials from a program that speaks Docker's credential-helper protocol, as ECR's helper does.

``docker-credential-NAME get`` reads a server's URL on standard input and writes ``{"Username": …, "Secret": …}``
(docker-credential-helpers, "Development"). What it writes to standard error is logged; its answer never is.
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
from registry_cache.upstream.credentials.account import Credentials

# A helper that asks a cloud takes a second or two.
HELPER_TIMEOUT_SECONDS = 5.0
# A killed process is gone at once, unless the kernel itself hangs.
_KILL_TIMEOUT_SECONDS = 1.0
# An answer is one small JSON object; ECR's secrets have under 4 KiB.
MAX_ANSWER = 64 * 1024
# How long a failure is remembered before the program is asked again.
FAILED_SECONDS = 10.0
# How long an answer is used unless the configuration says otherwise: ECR's passwords are good for twelve hours.
DEFAULT_LIFETIME = timedelta(minutes=10)

# This user name says that the secret is no password but a refresh token for a registry's token server (Docker's command
# line, "docker login").
_NO_USERNAME = "<token>"

_log = Log(__name__)


class _IdentityToken(Exception):
    """The answer has no password."""


class CredentialHelper:
    """Asks ``program`` for the credentials of ``server`` and uses them for ``lifetime``."""

    expires = True

    def __init__(
        self, program: str, server: str, lifetime: timedelta | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._program = program
        self._server = server
        self._lifetime = (DEFAULT_LIFETIME if lifetime is None else lifetime).total_seconds()
        self._clock = clock
        self._mutex = threading.Lock()
        self._answer: Credentials | UpstreamUnavailable | None = None
        self._ask_again_at = 0.0

    def credentials(self) -> Credentials:
        """Return them, asking the program once for all threads that wait. Raises UpstreamUnavailable with the cause.

        A failure is remembered for a while, too: a helper that hangs must not hold up every pull.
        """
        with self._mutex:
            if self._answer is None or self._clock() >= self._ask_again_at:
                self._answer = self._ask()
                failed = isinstance(self._answer, UpstreamUnavailable)
                self._ask_again_at = self._clock() + (FAILED_SECONDS if failed else self._lifetime)
            if isinstance(self._answer, UpstreamUnavailable):
                raise UpstreamUnavailable(self._answer.message)
            return self._answer

    def forget(self, refused: Credentials) -> None:
        """Ask the program again before its answer expires, unless it has given another since."""
        with self._mutex:
            if self._answer == refused:
                self._answer = None

    def _ask(self) -> Credentials | UpstreamUnavailable:
        stderr = None
        try:
            return _parse(_run([self._program, "get"], self._server.encode()))
        except subprocess.CalledProcessError as error:
            cause = f"exit status {error.returncode}"
            stderr = error.stderr.decode("utf-8", "replace").strip()[:200]
        except subprocess.TimeoutExpired:
            cause = f"no answer in {HELPER_TIMEOUT_SECONDS:.0f} s"
        except OSError as error:
            cause = error.strerror or type(error).__name__
        except _IdentityToken:
            cause = "it gave an identity token and no password, and this cache does not use such tokens"
        except (ValueError, KeyError, TypeError, RecursionError):
            cause = "its answer is not a JSON object with Username and Secret"
        # Its error output may name accounts and sessions, so only the log has it: the message goes to clients.
        _log.error("the credential helper failed", program=self._program, cause=cause, said=stderr)
        return UpstreamUnavailable(f"the credential helper {self._program} failed: {cause}")


def _run(command: list[str], data: bytes) -> bytes:
    """Return what a program writes, as subprocess.run does, within HELPER_TIMEOUT_SECONDS whatever its children do.

    Not through pipes: a child that inherits one keeps its reader waiting. Memory is complete as soon as the program
    itself has ended.
    """
    with _memory_file(data) as stdin, _memory_file() as stdout, _memory_file() as stderr:
        process = subprocess.Popen(  # noqa: S603 — the operator names the program; no shell
            command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            status = process.wait(HELPER_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_KILL_TIMEOUT_SECONDS)
            raise
        if status != 0:
            raise subprocess.CalledProcessError(status, command, stderr=os.pread(stderr, MAX_ANSWER, 0))
        return os.pread(stdout, MAX_ANSWER, 0)


@contextlib.contextmanager
def _memory_file(content: bytes = b"") -> Iterator[int]:
    """Yield the descriptor of a file in memory that holds ``content``; no secret is ever written to a disk."""
    descriptor = os.memfd_create("credential-helper")
    try:
        os.pwrite(descriptor, content, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _parse(answer: bytes) -> Credentials:
    """Return the credentials in an answer. Raises ValueError, KeyError, TypeError without any, _IdentityToken."""
    found = json.loads(answer)
    username, secret = found["Username"], found["Secret"]
    if not (isinstance(username, str) and isinstance(secret, str)):
        raise TypeError
    if username == _NO_USERNAME:
        raise _IdentityToken
    return Credentials(username, secret)
