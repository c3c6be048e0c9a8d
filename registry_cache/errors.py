"""All errors as one tree. Knows neither HTTP clients nor Flask.

An error is data: a code of the OCI distribution spec (table "Error Codes"), a status, a message for people and, where
waiting helps, the seconds to wait. The message names the thing and the remedy, because docker prints it.

    RegistryError                     500 UNKNOWN
    ├── NameInvalid 400 · DigestInvalid 400 · RequestInvalid 400
    ├── NotFound: NameUnknown · ManifestUnknown · BlobUnknown   404
    ├── Unauthorized                  401   who are you? (never for upstream's 401)
    ├── Denied                        403   upstream refused *us*
    ├── Unsupported                   405   push, delete
    ├── RangeNotSatisfiable           416
    ├── TooManyRequests               429   upstream's limit, and no copy to serve
    ├── Busy                          503   more readers than we size for
    ├── NotHeld                       410   to another node: neither here nor on its way here
    ├── LoopFound                     508   to our own request: a redirect, or a node of our name, has led it here
    ├── UpstreamError                 502
    │   ├── UpstreamCorrupt 502 · UpstreamUnavailable 503 · UpstreamTimeout 504
    │   ├── UpstreamDown 503          it has been failing, and was not asked
    │   └── UpstreamElsewhere 503     it answered; the host that it redirects to did not
    └── StoreError                    500   the disk
        └── StoreFull                       no room: stream through, uncached
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

# Of errors that led to each other.
_LONGEST_CHAIN = 20


class RegistryError(Exception):
    """The root; ``retry_after`` is in seconds, ``detail`` is any JSON value that helps a person."""

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, detail: object = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after

    def to_record(self) -> dict[str, object]:
        """Return this error as JSON values, so that a joiner in another process can raise the same."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "detail": self.detail,
            "retry_after": self.retry_after,
        }

    @staticmethod
    def from_record(record: Mapping[str, object]) -> RegistryError:
        """Rebuild an error from ``to_record``; an unknown kind (a newer version's) becomes the root."""
        kind = _KINDS.get(str(record.get("error")), RegistryError)
        wait = record.get("retry_after")
        return kind(
            str(record.get("message")),
            detail=record.get("detail"),
            retry_after=float(wait) if isinstance(wait, int | float) else None,
        )


def forget_frames(error: BaseException) -> None:
    """Let ``error``, and what led to it, keep nothing alive of where they were raised.

    An error that is kept for others remembers the frames that it came through, with megabytes of a body in them; and a
    frame that keeps the error makes a circle, which stays until the collector comes.
    """
    each: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if each is None:
            return
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


class NameInvalid(RegistryError):
    """A repository name that the spec's grammar does not allow."""

    code = "NAME_INVALID"
    status = 400


class DigestInvalid(RegistryError):
    """A digest with an unknown algorithm or of the wrong length."""

    code = "DIGEST_INVALID"
    status = 400


class RequestInvalid(RegistryError):
    """A query that makes no sense; the spec has no closer code."""

    code = "UNSUPPORTED"
    status = 400


class NotFound(RegistryError):
    """Upstream said no. Unlike no answer, that changes what we know."""

    status = 404


class NameUnknown(NotFound):
    code = "NAME_UNKNOWN"


class ManifestUnknown(NotFound):
    code = "MANIFEST_UNKNOWN"


class BlobUnknown(NotFound):
    code = "BLOB_UNKNOWN"


class Unauthorized(RegistryError):
    """A client without a login of ours; ``challenge`` is the header that asks for one (RFC 9110 §11.6.1)."""

    code = "UNAUTHORIZED"
    status = 401

    def __init__(
        self, message: str, *, challenge: str = "", detail: object = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, detail=detail, retry_after=retry_after)
        self.challenge = challenge


class Denied(RegistryError):
    """Upstream refused us. Its own 401 is never relayed: docker would answer it with the user's password (P4)."""

    code = "DENIED"
    status = 403


class Unsupported(RegistryError):
    """A push or a delete."""

    code = "UNSUPPORTED"
    status = 405


class RangeNotSatisfiable(RegistryError):
    """A range that begins behind the end of a blob of ``size`` bytes (RFC 9110 §15.5.17)."""

    code = "SIZE_INVALID"
    status = 416

    def __init__(self, message: str, *, size: int = 0, detail: object = None, retry_after: float | None = None) -> None:
        super().__init__(message, detail=detail, retry_after=retry_after)
        self.size = size


class TooManyRequests(RegistryError):
    """Upstream's rate limit, and we have no copy to serve."""

    code = "TOOMANYREQUESTS"
    status = 429


class Busy(RegistryError):
    """This worker streams to as many readers as it can."""

    code = "UNAVAILABLE"
    status = 503


class NotHeld(RegistryError):
    """Another node of the cluster asks for a blob that this one neither has nor downloads."""

    code = "BLOB_UNKNOWN"
    status = 410


class LoopFound(RegistryError):
    """A request of this server's own has come back to it, by a redirect or as from another node of the cluster."""

    code = "UNAVAILABLE"
    status = 508


class UpstreamError(RegistryError):
    """Upstream gave an answer that makes no sense."""

    code = "UNKNOWN"
    status = 502


class UpstreamCorrupt(UpstreamError):
    """Upstream's bytes do not match their digest."""


class UpstreamUnavailable(UpstreamError):
    """Upstream cannot be reached or answers 5xx."""

    code = "UNAVAILABLE"
    status = 503


class UpstreamDown(UpstreamUnavailable):
    """Upstream has been failing and was not asked; asking again at once would not help."""


class UpstreamElsewhere(UpstreamUnavailable):
    """Upstream redirected us to a host that failed; the registry as a whole is not down."""


class UpstreamTimeout(UpstreamError):
    """Upstream does not answer in time."""

    code = "UNAVAILABLE"
    status = 504


class StoreError(RegistryError):
    """The disk failed."""


class StoreFull(StoreError):
    """No room for these bytes; the pull goes on uncached (byte-safety rule 9)."""


def _tree(root: type[RegistryError]) -> dict[str, type[RegistryError]]:
    kinds = {root.__name__: root}
    for child in root.__subclasses__():
        kinds |= _tree(child)
    return kinds


_KINDS = _tree(RegistryError)
