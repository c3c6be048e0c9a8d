"""What a check says about one upstream, in words: pure functions of its configuration and of what was found."""

from __future__ import annotations

from dataclasses import dataclass

from registry_cache.errors import UpstreamError, UpstreamTimeout
from registry_cache.runtime.check_step import Step, StepState
from registry_cache.upstream.diagnose.steps import WAIT, CheckTarget, StepFailed
from registry_cache.upstream.diagnose.tls_failure import tls_failure

HELPER_REMEDY = "run it by hand: its argument is get, it reads the server's name and writes JSON"


@dataclass(frozen=True, slots=True)
class Findings:
    """What can be found about ``target``."""

    target: CheckTarget

    @property
    def example(self) -> str:
        """A command that checks more."""
        return f"registry-cache check {self.target.name}/REPOSITORY:TAG"

    @property
    def account_keys(self) -> str:
        return f"{self.target.key('username')} and {self.target.key('password')}"

    def tls(self) -> Step:
        if self.target.insecure:
            return Step("TLS", "ok", f"encrypted, but no certificate is compared: {self.target.key('insecure')} is set")
        return Step("TLS", "ok", f"the certificate of {self.target.name} is trusted")

    def answer(self, status: int, *, has_challenge: bool, is_page: bool) -> Step:
        """Return the step of an answer to ``/v2/`` that only a registry gives. Raises StepFailed for any other."""
        name = self.target.name
        if status >= 500:
            raise StepFailed("answer", f"{name} is up but failing: it answered {status} to /v2/", WAIT)
        if status == 403:
            raise StepFailed("answer", f"{name} refuses this machine: it answered 403 to /v2/", f"ask who runs {name}")
        if status == 401 and has_challenge:
            return Step("answer", "ok", f"{name} is a registry that wants to know who asks")
        if status != 200 or is_page:
            page = " with a web page" if is_page else ""
            words = f"{name} answered {status} to /v2/{page}: that is no registry"
            raise StepFailed("answer", words, f"check {self.target.key('remoteurl')}")
        return Step("answer", "ok", f"{name} is a registry")

    def token(self, repository: str | None) -> Step:
        key = self.target.key("username")
        if repository is None:
            return Step("token", "ok", f"{self.target.name} accepts the account of {key}")
        account = f"for the account of {key}" if self.target.account else "without an account"
        return Step("token", "ok", f"{self.target.name} gives one for {repository} {account}")

    def unused_account(self) -> Step:
        words = f"{self.target.name} has asked for no account: {self.target.key('username')} was not tried"
        return Step("credentials", "warning", words, self.example)

    def no_password(self) -> StepFailed:
        return StepFailed("credentials", f"{self.target.name} wants a user and a password", f"set {self.account_keys}")

    def refused_account(self, step: str) -> StepFailed:
        return StepFailed(step, "the account was refused", f"check {self.account_keys}")

    def refused_token(self, repository: str | None) -> StepFailed:
        words = f"the token server gives none for {repository or 'the account'}"
        return StepFailed("token", words, self._access_remedy())

    def denied(self, manifest: str, state: StepState) -> StepFailed:
        words = f"{self.target.name} does not let this cache read {manifest}: it is private or does not exist"
        return StepFailed("manifest", words, self._access_remedy(), state)

    def limited(self, step: str, known: str, wait: float | None) -> StepFailed:
        """Return the step that a rate limit ended; ``known`` is what upstream has said of it."""
        words = f"{self.target.name} limits this cache" + (f": {known}" if known else "")
        remedy = "try again " + ("later" if wait is None else f"in {wait:.0f} s")
        if not self.target.account:
            remedy += f"; an account has a limit of its own: {self.target.key('username')}"
        return StepFailed(step, words, remedy)

    def limit(self, known: str, *, is_used_up: bool) -> Step:
        """Return the step for ``known``, what upstream has said of its rate limit."""
        if not is_used_up:
            return Step("rate limit", "ok", known)
        remedy = "wait"
        if not self.target.account:
            remedy += f", or give it an account, which has a limit of its own: {self.target.key('username')}"
        return Step("rate limit", "warning", f"{known}; what is not cached is refused", remedy)

    def no_answer(self, step: str, error: UpstreamError) -> StepFailed:
        """Return the step that ended with ``error`` and no answer."""
        target = self.target
        server = f"{target.name}'s token server" if step == "token" else target.name
        if tls := tls_failure(error, server, target.keys, target.ca):
            return StepFailed("TLS" if step == "answer" else step, *tls)
        if "tokenrealms" in error.message:
            remedy = f"the key is {target.key('tokenrealms')}"
        elif "credential helper" in error.message:
            remedy = HELPER_REMEDY
        elif target.proxy and not isinstance(error, UpstreamTimeout):
            remedy = f"if the proxy is to blame, check {target.key('httpproxy')}, its user and password too"
        else:
            remedy = WAIT
        return StepFailed(step, error.message, remedy)

    def _access_remedy(self) -> str:
        if self.target.account:
            return f"check its name, and give the account of {self.target.key('username')} access to it"
        return f"check its name, or set {self.account_keys} to an account that may read it"
