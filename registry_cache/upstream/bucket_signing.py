"""Sign URLs of objects, so that whoever has one can read or delete that object for a while and do nothing else.

Only this module imports botocore here, and of it nothing but the signing: its own client waits without bounds of ours
and has hung under gevent.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from botocore import session as botocore_session
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError

from registry_cache.errors import UpstreamUnavailable

# What S3 leaves as it is when it computes a signature.
_PLAIN = "/-._~"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An account of the object store. ``secret`` is in no repr."""

    name: str
    secret: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"AccessKey({self.name!r})"


class BucketSigner:
    """Signs for the bucket at ``base_url``, which ends where keys begin; ``region`` is part of each signature.

    Without ``key``: with the account that AWS' tools would find in the environment, in files, or on the machine.
    """

    def __init__(self, base_url: str, region: str, key: AccessKey | None) -> None:
        self.base_url = base_url
        self._region = region
        # It renews itself where it expires, as a machine's role does.
        self._credentials = (
            Credentials(key.name, key.secret, key.token) if key else botocore_session.get_session().get_credentials()
        )

    def sign(self, method: str, key: str, seconds: int) -> str:
        """Return a URL that is good for ``seconds``, for ``method`` alone. Raises UpstreamUnavailable."""
        if self._credentials is None:
            raise UpstreamUnavailable("there is no account for the bucket: give storage.s3.accesskey and secretkey")
        request = AWSRequest(method, f"{self.base_url}{quote(key, safe=_PLAIN)}")
        try:
            S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=seconds).add_auth(request)
        except BotoCoreError as error:
            raise UpstreamUnavailable(f"could not sign for the bucket: {type(error).__name__}") from error
        return str(request.url)
