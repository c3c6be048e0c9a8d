"""Try whether a bucket does what several caches need of it: with one small object, which is removed again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.objects import Objects
from registry_cache.errors import RegistryError
from registry_cache.runtime.check_step import Step

SAMPLE = b"registry-cache check"
# Where the sample's second part begins, which is read by itself.
_AT = 9

_CHECK_KEYS = "check storage.s3.accesskey and secretkey"
# What to do about S3's own words, and boto3's for no answer.
_REMEDIES = {
    "NoSuchBucket": "make it: registry-cache bucket create; or correct storage.s3.bucket and regionendpoint",
    "InvalidAccessKeyId": _CHECK_KEYS,
    "SignatureDoesNotMatch": _CHECK_KEYS,
    "AccessDenied": "let the account do s3:GetObject, s3:PutObject and s3:DeleteObject in this bucket",
    "RequestTimeTooSkewed": "set this machine's clock",
    "QuotaExceeded": "give the account more room, or delete something",
    "AuthorizationHeaderMalformed": "check storage.s3.region",
    "PermanentRedirect": "check storage.s3.region and regionendpoint",
    "NoCredentialsError": "give storage.s3.accesskey and secretkey, or this machine a role",
    "EndpointConnectionError": "check storage.s3.regionendpoint, and the network to it",
    "ConnectTimeoutError": "check storage.s3.regionendpoint, and the network to it",
    "ConnectionClosedError": "check storage.s3.regionendpoint and secure",
    "SSLError": "check storage.s3.regionendpoint, secure and skipverify",
}
_USUAL = "see what the object store's own log says"


class SampleReader(Protocol):
    """Reads as workers do, by signed URLs. Raises RegistryError."""

    def from_byte(self, key: str, start: int) -> bytes | None: ...


def examine(connect: Callable[[], Objects], reader: SampleReader) -> Iterator[Step]:
    """Try the bucket; stops where it cannot be written."""
    key = f"check/{secrets.token_hex(8)}"
    try:
        objects = connect()
        objects.replace(key, SAMPLE)
    except (BucketAway, ObjectRefused) as error:
        yield _failure("write", "it takes no object", str(error))
        return
    yield Step("write", "ok", "it takes objects")
    yield _conditions(objects, key)
    yield _signed_url(reader, key)
    yield _absence(reader, key)
    yield _delete(objects, key)


def _conditions(objects: Objects, key: str) -> Step:
    try:
        if objects.put(key, SAMPLE, len(SAMPLE)):
            words = "it does not know If-None-Match: what two nodes have at once is written twice, and is the same"
            return Step("condition", "warning", words)
    except (BucketAway, ObjectRefused) as error:
        return _failure("condition", "it does not take an object on a condition", str(error))
    return Step("condition", "ok", "of two nodes that have the same at once, one writes it")


def _signed_url(reader: SampleReader, key: str) -> Step:
    try:
        found = reader.from_byte(key, _AT)
    except RegistryError as error:
        return _failure("signed URL", "it cannot be read by one", error.message)
    if found != SAMPLE[_AT:]:
        return Step("signed URL", "failed", "a part of an object that was just written is not there", _USUAL)
    return Step("signed URL", "ok", "workers can read from it, parts too")


def _absence(reader: SampleReader, key: str) -> Step:
    try:
        if reader.from_byte(f"{key}-none", 0) is None:
            return Step("absence", "ok", "it says what is not there")
    except RegistryError as error:
        return _failure("absence", "it answers oddly for what is not there", error.message)
    return Step("absence", "failed", "it has an object that nobody has written", "give the caches a bucket alone")


def _delete(objects: Objects, key: str) -> Step:
    try:
        objects.delete([key])
        is_gone = not objects.has(key)
    except (BucketAway, ObjectRefused) as error:
        return _failure("delete", "wrong bytes would stay in it", str(error))
    if not is_gone:
        return Step("delete", "warning", "what was deleted is still there", "let it keep no versions")
    return Step("delete", "ok", "wrong bytes can be removed")


def _failure(name: str, words: str, reason: str) -> Step:
    remedy = next((remedy for word, remedy in _REMEDIES.items() if word in reason), _USUAL)
    return Step(name, "failed", f"{words}: {reason}", remedy)
