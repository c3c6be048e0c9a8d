"""The bucket that several caches share: the keys of CNCF Distribution's S3 driver, and URLs that follow from them."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from registry_cache.config import values
from registry_cache.config.extras import require_extra
from registry_cache.config.given import Given
from registry_cache.config.problems import InvalidValue
from registry_cache.config.raw import Raw
from registry_cache.config.secret import Secret
from registry_cache.config.settings import setting

# What a part of an upload may have, by S3's rules; the sender holds one in memory.
_LEAST_PART, _MOST_PART = 5 * 1024 * 1024, 1024 * 1024 * 1024

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\]")
# Where no region is given, and the store is not Amazon's: most others take any, and this is what they call theirs.
_USUAL_REGION = "us-east-1"


def bucket_name(raw: Raw) -> str:
    text = values.line(raw)
    if not _BUCKET.fullmatch(text):
        raise InvalidValue(
            f"{text[:70]!r} is not a valid name for a bucket", "write its name alone, such as registry-cache"
        )
    return text


def endpoint(raw: Raw) -> str:
    """The address of an object store: ``host``, ``host:port``, or that with a scheme before it."""
    text = values.line(raw).rstrip("/")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.netloc.removesuffix(f":{port}")
    if parts.scheme not in ("", "http", "https") or not _HOST.fullmatch(host) or parts.path or parts.query:
        raise InvalidValue("is not the address of an object store", "write it as http://ceph.example.com:8080")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config:
    """A bucket, by Distribution's names. None where a key is not given, and the object store's own default holds."""

    region: str = setting("storage.s3.region", values.line)
    bucket: str = setting("storage.s3.bucket", bucket_name)
    region_endpoint: str | None = setting("storage.s3.regionendpoint", endpoint)
    force_path_style: bool = setting("storage.s3.forcepathstyle", values.boolean, "true")
    access_key: str | None = setting("storage.s3.accesskey", values.line)
    secret_key: Secret | None = setting("storage.s3.secretkey", values.secret)
    session_token: Secret | None = setting("storage.s3.sessiontoken", values.secret)
    root_directory: str | None = setting("storage.s3.rootdirectory", values.line)
    is_secure: bool = setting("storage.s3.secure", values.boolean, "true")
    skips_verify: bool = setting("storage.s3.skipverify", values.boolean, "false")
    is_encrypted: bool = setting("storage.s3.encrypt", values.boolean, "false")
    key_id: str | None = setting("storage.s3.keyid", values.line)
    storage_class: str | None = setting("storage.s3.storageclass", values.line)
    object_acl: str | None = setting("storage.s3.objectacl", values.line)
    chunk_size: int = setting("storage.s3.chunksize", values.whole(_LEAST_PART, _MOST_PART), "67108864")
    user_agent: str | None = setting("storage.s3.useragent", values.line)
    uses_dual_stack: bool = setting("storage.s3.usedualstack", values.boolean, "false")
    accelerates: bool = setting("storage.s3.accelerate", values.boolean, "false")
    endpoint_url: str
    """Scheme, host and port of the object store; no trailing slash."""
    base_url: str
    """Where the bucket's keys begin: ends with a slash."""


def s3_config(given: Given) -> S3Config | None:
    """Return the bucket that is given; None where none is, or what is wrong with it has been reported."""
    if not any(path[:2] == ("storage", "s3") for path in given.raw):
        return None
    if not given.has("storage.s3.bucket"):
        given.refuse("storage.s3.bucket", "is missing", "name the bucket, or remove storage.s3")
    if given.has("storage.s3.accesskey") != given.has("storage.s3.secretkey"):
        here, missing = ("accesskey", "secretkey") if given.has("storage.s3.accesskey") else ("secretkey", "accesskey")
        remedy = "give both, or neither for the account of this machine"
        given.refuse(f"storage.s3.{here}", f"given without {missing}", remedy)
    if not given.has("storage.s3.region"):
        if not given.has("storage.s3.regionendpoint"):
            given.refuse("storage.s3.region", "is missing", "name the bucket's region, such as eu-central-1")
        given.set("storage.s3.region", _USUAL_REGION)
    require_extra(given, "storage.s3", "boto3")
    if not given.valid("storage.s3", "storage.s3.bucket", "storage.s3.region", "storage.s3.regionendpoint"):
        return None
    url, base = _urls(given)
    return given.read(S3Config, endpoint_url=url, base_url=base)


def _urls(given: Given) -> tuple[str, str]:
    """Return the object store's URL and that of the bucket in it."""
    region, bucket = given.value("storage.s3.region"), given.value("storage.s3.bucket")
    scheme = "https" if given.value("storage.s3.secure") else "http"
    own = given.value("storage.s3.regionendpoint")
    if own:
        url = own if "://" in own else f"{scheme}://{own}"
    elif given.value("storage.s3.accelerate"):
        url = f"{scheme}://s3-accelerate.amazonaws.com"
    else:
        stack = "dualstack." if given.value("storage.s3.usedualstack") else ""
        url = f"{scheme}://s3.{stack}{region}.amazonaws.com"
    # A name with a dot matches no certificate of the store's.
    in_path = (given.value("storage.s3.forcepathstyle") if own else False) or "." in bucket
    begin, _, host = url.partition("://")
    return url, f"{url}/{bucket}/" if in_path else f"{begin}://{bucket}.{host}/"
