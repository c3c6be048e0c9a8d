"""Objects in the bucket: put, look for, list, copy and delete them, by boto3.

Never in a worker: under gevent its transfers have hung, and its waits have bounds of their own. What goes wrong is one
of two errors: the bucket takes nothing now, or it does not take this.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import resource
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from registry_cache.bucket.answer_time import AnswerTime
from registry_cache.bucket.errors import BucketAway, ObjectRefused
from registry_cache.bucket.settings import BucketSettings, Count
from registry_cache.bucket.stored_object import StoredObject

CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS = 5.0, 60.0
# For all of an answer, which may come byte by byte.
ANSWER_TIMEOUT_SECONDS = 120.0
# To copy an object, or to make one of its parts, takes S3 minutes, in which it sends spaces.
COPY_TIMEOUT_SECONDS = 900.0
# What goes there may go as slowly as this.
SLOWEST_BYTES_PER_SECOND = 16 * 1024

# These are about one object. All others, the lack of room and of rights among them, would meet the next one, too.
_ABOUT_ONE = {400, 405, 409, 411, 413, 414, 416}
_DELETED_AT_ONCE = 1000
# Pages of a list in a row that name nothing new: a bucket may have some where much was deleted.
_EMPTY_PAGES = 100
# Of a process. boto3 reads an answer to its end, and it may have none.
MOST_MEMORY = 1024 * 1024 * 1024


def bound_memory(most: int = MOST_MEMORY) -> None:
    """Let this process take so many bytes at most, whatever a bucket answers: beyond that it is away."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


class Objects:
    """The objects under the prefix of one bucket. Every method raises BucketAway and ObjectRefused."""

    def __init__(
        self,
        settings: BucketSettings,
        count: Count = lambda operation, status, size: None,
        answer_time: AnswerTime = AnswerTime(),  # noqa: B008 — it is immutable
    ) -> None:
        self._settings = settings
        self._count = count
        self._time = answer_time
        self._client = _client(settings)
        self._takes_conditions = True
        self._put_options = _put_options(settings)

    def create_bucket(self, location: str | None) -> None:
        """Make the bucket, in Amazon's region ``location``, unless this account has it already."""
        where = {"CreateBucketConfiguration": {"LocationConstraint": location}} if location else {}
        with contextlib.suppress(KeyError):
            self._call("create", lambda: self._client.create_bucket(Bucket=self._settings.name, **where), absent=(409,))

    def put(self, key: str, body: bytes | IO[bytes], size: int, media_type: str = "") -> bool:
        """Put an object of ``size`` bytes; return False where it is there already, and stays as it is."""
        return self._put(key, body, size, media_type, only_new=True)

    def replace(self, key: str, body: bytes, media_type: str = "") -> None:
        """Put an object in place of one that may be there."""
        self._put(key, body, len(body), media_type, only_new=False)

    def put_parts(self, key: str, parts: Iterator[bytes], is_right: Callable[[], bool]) -> bool:
        """Put an object of several parts if it ``is_right`` at their end; return whether it was."""
        place = {"Bucket": self._settings.name, "Key": self._settings.prefix + key}
        upload = self._call("put", lambda: self._client.create_multipart_upload(**place, **self._put_options))
        place["UploadId"] = upload["UploadId"]
        done = []
        try:
            for number, part in enumerate(parts, 1):
                sent = self._call("put", self._upload(place, number, part), len(part))
                done.append({"ETag": sent["ETag"], "PartNumber": number})
            if is_right():
                whole = {**place, "MultipartUpload": {"Parts": done}}
                complete = partial(self._client.complete_multipart_upload, **whole)
                self._call("put", complete, seconds=COPY_TIMEOUT_SECONDS)
                return True
        except BaseException:
            self._abort(place)
            raise
        self._abort(place)
        return False

    def has(self, key: str) -> bool:
        return self.modified(key) is not None

    def modified(self, key: str) -> datetime | None:
        """Return when an object was put or copied last; None where it is not there."""
        try:
            head = self._call("head", lambda: self._client.head_object(**self._place(key)), absent=(403, 404))
        except KeyError:
            return None
        found: datetime = head["LastModified"]
        return found

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a small object; None where it is not there."""
        try:
            data: bytes = self._call("get", self._read(key), absent=(403, 404))
        except KeyError:
            return None
        return data

    def find(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every object whose key begins with ``prefix``, in the order of keys."""
        whole = self._settings.prefix + prefix
        after: dict[str, str] = {}
        last, empty = "", 0
        while empty < _EMPTY_PAGES:
            page = self._call("list", self._list_page(whole, after))
            keys = [last]
            for each in page.get("Contents", ()):
                keys.append(str(each["Key"]))
                key = keys[-1].removeprefix(self._settings.prefix)
                yield StoredObject(key, int(each["Size"]), each["LastModified"])
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}
            empty = 0 if keys[-1] > last else empty + 1
            last = max(keys)
        raise BucketAway("its list of objects does not end")

    def renew(self, key: str) -> None:
        """Copy an object onto itself, so that it counts as used now."""
        source = {"Bucket": self._settings.name, "Key": self._settings.prefix + key}
        # The same metadata would be no change, which S3 refuses.
        found = self._call("head", lambda: self._client.head_object(**self._place(key)))
        options = {**self._put_options, "ContentType": found.get("ContentType", "binary/octet-stream")}
        options |= {"CopySource": source, "MetadataDirective": "REPLACE", "Metadata": found.get("Metadata", {})}
        options |= self._place(key)
        self._call("copy", lambda: self._client.copy_object(**options), seconds=COPY_TIMEOUT_SECONDS)

    def delete(self, keys: list[str]) -> None:
        """Delete these objects; those that are not there are deleted. What is refused of them is told after all."""
        refused = ""
        for at in range(0, len(keys), _DELETED_AT_ONCE):
            names = [{"Key": self._settings.prefix + key} for key in keys[at : at + _DELETED_AT_ONCE]]
            for each in self._call("delete", self._delete(names)).get("Errors", ()):
                if each.get("Code") not in ("NoSuchKey", "NotFound"):
                    refused = refused or f"{each.get('Code')} {each.get('Message', '')}"
        if refused:
            raise ObjectRefused(refused)

    def _put(self, key: str, body: bytes | IO[bytes], size: int, media_type: str, *, only_new: bool) -> bool:
        options = {**self._place(key), **self._put_options, "Body": body}
        if media_type:
            options["ContentType"] = media_type
        has_condition = only_new and self._takes_conditions
        if has_condition:
            options["IfNoneMatch"] = "*"
        try:
            # Without a condition a 501 is no word about it: who answers so to everything would be asked without an end.
            absent = (412, 501) if has_condition else ()
            self._call("put", lambda: self._client.put_object(**options), size, absent=absent)
        except KeyError as error:
            if error.args[0] == 412:
                return False
            # An object store that knows no conditions; the same bytes are put twice, which changes nothing.
            self._takes_conditions = False
            if not isinstance(body, bytes):
                body.seek(0)
            return self._put(key, body, size, media_type, only_new=only_new)
        return True

    def _upload(self, place: Mapping[str, str], number: int, part: bytes) -> Callable[[], Any]:
        return lambda: self._client.upload_part(**place, PartNumber=number, Body=part)

    def _read(self, key: str) -> Callable[[], Any]:
        return lambda: self._client.get_object(**self._place(key))["Body"].read()

    def _list_page(self, prefix: str, after: Mapping[str, str]) -> Callable[[], Any]:
        return lambda: self._client.list_objects_v2(Bucket=self._settings.name, Prefix=prefix, **after)

    def _delete(self, names: list[dict[str, str]]) -> Callable[[], Any]:
        return lambda: self._client.delete_objects(Bucket=self._settings.name, Delete={"Objects": names, "Quiet": True})

    def _abort(self, place: Mapping[str, str]) -> None:
        with contextlib.suppress(BucketAway, ObjectRefused):
            self._call("delete", lambda: self._client.abort_multipart_upload(**place))

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._settings.name, "Key": self._settings.prefix + key}

    def _call(
        self,
        operation: str,
        call: Callable[[], Any],
        size: int = 0,
        absent: tuple[int, ...] = (),
        seconds: float | None = None,
    ) -> Any:
        """Return what ``call`` does in ``seconds``. Raises KeyError with the status where that is one of ``absent``."""
        try:
            answer = self._time.within((seconds or ANSWER_TIMEOUT_SECONDS) + size / SLOWEST_BYTES_PER_SECOND, call)
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            code = str(error.response.get("Error", {}).get("Code", ""))
            self._count(operation, status or None, 0)
            # A HEAD has no body, and then boto3 writes the status where the word would be.
            if status in absent and (status == 412 or code in ("", str(status), *_ABSENT_CODES)):
                raise KeyError(status) from error
            kind = ObjectRefused if status in _ABOUT_ONE and code not in _ABOUT_ALL else BucketAway
            raise kind(f"{status} {code}") from error
        except (BotoCoreError, OSError, MemoryError) as error:
            self._count(operation, None, 0)
            # Its text may hold the signed URL.
            raise BucketAway(type(error).__name__) from error
        self._count(operation, 200, size)
        return answer


# Of 403, 404 and 501: this one is not there, or that cannot be done. Of 409: there is nothing to do.
_ABSENT_CODES = ("NoSuchKey", "NotFound", "AccessDenied", "Forbidden", "NotImplemented", "BucketAlreadyOwnedByYou")
# Of 400: what is wrong with us, and not with an object.
_ABOUT_ALL = ("ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "RequestTimeout", "InvalidRequest")


def _client(settings: BucketSettings) -> Any:
    client = boto3.client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        verify=settings.is_verified,
        config=Config(
            # Newer checksums are refused by older Ceph and MinIO.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version="s3v4",
            s3={"addressing_style": "path" if settings.is_path_style else "virtual"},
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            # The outbox is what tries again.
            retries={"total_max_attempts": 1},
            # None of the environment's, as for registries.
            proxies={},
            user_agent_extra=settings.user_agent or "",
        ),
    )
    client.meta.events.register("before-sign.s3.DeleteObjects", _add_md5)
    return client


def _add_md5(request: Any, **_: object) -> None:
    """Called by boto3 before it signs a request to delete: OpenStack Swift refuses one that has but newer checksums."""
    md5 = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(md5).decode()


def _put_options(settings: BucketSettings) -> dict[str, str]:
    """Return what goes along with whatever creates an object."""
    given = {
        "ServerSideEncryption": settings.encryption,
        "SSEKMSKeyId": settings.encryption_key,
        "StorageClass": settings.storage_class,
        "ACL": settings.acl,
    }
    return {name: value for name, value in given.items() if value}
