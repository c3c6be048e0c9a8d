"""The knobs of the fake upstream: what it does wrong, and when. Data only; `wire.py` and `upstream.py` act on it.

A *pattern* is a regular expression searched in "METHOD /path", e.g. "HEAD .*/manifests/1.27".
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.harness.cdn import FakeCdn


@dataclass
class BodyFaults:
    """What goes wrong with a body. An offset is one of the whole blob, whatever range is asked."""

    hold_at: int | None = None  # pause at this offset until `gate` is set
    gate: threading.Event = field(default_factory=threading.Event)  # lets everything held go on
    cut_after: int | list[int] | None = (
        None  # close after so many bytes of a response; a list: one per attempt, then none
    )
    reset: bool = False  # … with RST instead of FIN
    corrupt_at: int | None = None  # flip the byte at this offset …
    corrupt_times: int | None = None  # … in this many transfers only, then tell the truth
    rate: int | None = None  # bytes a second, each connection
    no_range: bool = False  # ignore Range: 200 and everything
    length_lie: int = 0  # add this to Content-Length; the bytes stay the same, then the connection closes
    no_length: bool = False  # chunked instead of Content-Length
    no_head_length: bool = False  # … in answers to HEADs alone
    gzip: bool = False  # Content-Encoding: gzip that nobody asked for
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def next_cut(self) -> int | None:
        """Where to cut this attempt; consumes one entry of a list."""
        with self._lock:
            if isinstance(self.cut_after, list):
                return self.cut_after.pop(0) if self.cut_after else None
            return self.cut_after

    def next_corruption(self, start: int, end: int) -> int | None:
        """The offset to corrupt in a body of [start, end); consumes one of `corrupt_times` if it is in there."""
        with self._lock:
            if self.corrupt_at is None or not start <= self.corrupt_at < end or self.corrupt_times == 0:
                return None
            if self.corrupt_times is not None:
                self.corrupt_times -= 1
            return self.corrupt_at


@dataclass
class Answer:
    """A scripted answer to the requests that match `pattern`."""

    pattern: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    times: int | None


@dataclass
class Faults(BodyFaults):
    """Every knob; set any at any time. Body faults here are those of all blobs; `of(digest)` has one digest's own."""

    # requests
    status: int | None = None  # answer this to everything under /v2/
    drop: str | None = None  # close the connection without a word on requests that match this pattern
    hold_before: str | None = (
        None  # keep requests that match this pattern waiting, before the head, until `gate` is set
    )
    delay: float = 0  # seconds before every answer
    set_cookie: bool = False  # hand out a cookie, which must never reach the CDN

    # who may read: tokens
    require_token: bool = False  # every repository needs one, public ones an anonymous one
    private: set[str] = field(default_factory=set)  # repositories that need a token of one of `users`
    users: dict[str, str] = field(default_factory=dict)  # user → password, checked by the token server
    require_basic: tuple[str, str] | None = None  # Basic instead of Bearer, with this user and password
    realm: str | None = None  # what the challenge says instead of our own /token
    challenges: list[str] | None = None  # whole WWW-Authenticate lines instead of our own
    token_field: str = "token"  # or "access_token"
    token_seconds: float = 300  # how long a token is good for
    token_begins: float = 0  # seconds until a token is good, as where the registry's clock is behind
    token_says: object = None  # the `expires_in` it claims, if not the truth
    token_size: int = 40  # characters in a token
    token_status: int = 200  # what the token server answers

    # manifests and lists
    no_head: bool = False  # 405 to HEAD of manifests and blobs
    no_digest_header: bool = False  # no Docker-Content-Digest
    move_tag_after_head: dict[str, str] = field(
        default_factory=dict
    )  # tag → the digest it moves to after its next HEAD
    manifest_bytes_override: dict[str, bytes] = field(default_factory=dict)  # digest → what is sent under that name
    no_referrers: bool = False  # 404 on the referrers API, so that clients try the fallback tag
    no_paging: bool = False  # all tags on one page, whatever `n` and `last` say
    page_by_token: bool = False  # the next page is by a token of ours, as Quay's; `last` is ignored
    max_n: tuple[int, int] | None = None  # a larger `n` is answered with this status
    page_size: int | None = None  # at most so many entries a page of tags or referrers
    rate_limit: int | None = None  # so many manifest GETs, then 429; HEADs are free, as on Docker Hub
    retry_after: str = "60"  # seconds or a date, with that 429

    # blobs
    redirect_blobs_to: "FakeCdn | None" = None  # blobs come from there, by presigned URLs
    redirect_status: int = 307
    redirect_to: str | None = None  # blobs redirect to this instead; "{digest}" is filled in: loops, other schemes, …

    _answers: list[Answer] = field(default_factory=list, init=False, repr=False)
    _own: dict[str, BodyFaults] = field(default_factory=dict, init=False, repr=False)

    def of(self, digest: str) -> BodyFaults:
        """The body faults of this blob or manifest alone; from now on it ignores the general ones, `gate` included."""
        return self._own.setdefault(digest, BodyFaults())

    def own_or_general(self, digest: str) -> BodyFaults:
        """What applies to the blob with this digest."""
        return self._own.get(digest, self)

    def own(self, digest: str) -> BodyFaults | None:
        """What applies to the manifest with this digest: general body faults are for blobs."""
        return self._own.get(digest)

    def answer(self, pattern: str, status: int, body: bytes = b"", times: int | None = None, **headers: str) -> None:
        """Answer `status` to requests that match, `times` times (None: always). `Retry_After="5"` names a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers.append(Answer(pattern, status, named, body, times))

    def next_answer(self, request: str) -> Answer | None:
        """The scripted answer to "METHOD /path", if there is one; consumes one of its `times`."""
        with self._lock:
            for answer in self._answers:
                if answer.times != 0 and re.search(answer.pattern, request):
                    if answer.times is not None:
                        answer.times -= 1
                    return answer
        if self.status is not None and " /v2/" in request:
            return Answer("", self.status, {}, b"", None)
        return None

    def release(self) -> None:
        """Open every gate."""
        for faults in (self, *self._own.values()):
            faults.gate.set()
