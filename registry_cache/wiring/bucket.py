"""Build what reads from the bucket that several caches share, and what writes to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from registry_cache.api.metrics import BucketState
from registry_cache.bucket.sender_process import SenderProcess
from registry_cache.bucket.settings import BucketSettings
from registry_cache.config import Config
from registry_cache.config.bucket import S3Config
from registry_cache.errors import StoreError
from registry_cache.oci import object_keys
from registry_cache.oci.digest import Digest
from registry_cache.pull.cluster.bucket_images import BucketImages
from registry_cache.pull.cluster.bucket_source import BucketFirst
from registry_cache.pull.cluster.shared_images import NOTHING_SHARED, SharedImages
from registry_cache.pull.source import SourceOf, source_of
from registry_cache.runtime import metrics
from registry_cache.store import inventory
from registry_cache.store.layout import Layout
from registry_cache.store.outbox import Outbox
from registry_cache.upstream.bucket import NAME, TIMEOUTS, BucketReader
from registry_cache.upstream.session import TLS, Session


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What a node has from others by the bucket, and for them. Without a bucket that is nothing."""

    source_of: SourceOf = source_of
    images: SharedImages = NOTHING_SHARED
    reader: BucketReader | None = None
    sender: SenderProcess | None = None
    state: Callable[[], BucketState | None] = lambda: None


def shared_parts(config: Config, layout: Layout) -> SharedParts:
    """Construct them; connects to nothing yet."""
    if config.s3 is None:
        return SharedParts()
    reader, outbox = bucket_reader(config.s3), Outbox(layout)
    sender = SenderProcess(
        layout,
        bucket_settings(config.s3),
        _outbox_limit(config, layout),
        _count,
        config.log.level,
        config.log.formatter,
    )
    return SharedParts(
        BucketFirst(reader, outbox), BucketImages(reader, outbox), reader, sender, partial(_state, outbox)
    )


def bucket_reader(s3: S3Config) -> BucketReader:
    """Return what reads from the bucket; connects to nothing yet."""
    # Only here: without a bucket nobody needs botocore.
    from registry_cache.upstream.bucket_signing import AccessKey, BucketSigner

    token = s3.session_token.reveal() if s3.session_token else None
    key = AccessKey(s3.access_key, s3.secret_key.reveal(), token) if s3.access_key and s3.secret_key else None
    session = Session(NAME, TIMEOUTS, TLS(not s3.skips_verify))
    prefix = object_keys.prefix(s3.root_directory or "")
    return BucketReader(BucketSigner(s3.base_url, s3.region, key), session, prefix)


def bucket_settings(s3: S3Config) -> BucketSettings:
    """Return what a process needs to write to the bucket."""
    encryption = ("aws:kms" if s3.key_id else "AES256") if s3.is_encrypted else None
    return BucketSettings(
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        name=s3.bucket,
        prefix=object_keys.prefix(s3.root_directory or ""),
        is_path_style=s3.base_url == f"{s3.endpoint_url}/{s3.bucket}/",
        access_key=s3.access_key,
        secret_key=s3.secret_key.reveal() if s3.secret_key else None,
        session_token=s3.session_token.reveal() if s3.session_token else None,
        is_verified=not s3.skips_verify,
        encryption=encryption,
        encryption_key=s3.key_id if s3.is_encrypted else None,
        storage_class=s3.storage_class if s3.storage_class != "NONE" else None,
        acl=s3.object_acl,
        part_size=s3.chunk_size,
        user_agent=s3.user_agent,
    )


@dataclass(frozen=True, slots=True)
class Samples:
    """Reads small objects as workers do, for a check of the bucket."""

    reader: BucketReader

    def from_byte(self, key: str, start: int) -> bytes | None:
        body = self.reader.open(key, Digest.of(b""), start)
        if body is None:
            return None
        with closing(body):
            return b"".join(body)


def _outbox_limit(config: Config, layout: Layout) -> int:
    """Return how many bytes the outbox may hold that are nowhere else any more: a tenth of the store."""
    total = inventory.disk_space(layout.root).total
    return (config.max_size.bytes_of(total) or total) // 10


def _state(outbox: Outbox) -> BucketState | None:
    try:
        state = outbox.state()
    except StoreError:
        return None
    return BucketState(state.entries, max(0.0, time.time() - state.oldest) if state.oldest else 0.0)


def _count(operation: str, status: int | None, size: int) -> None:
    metrics.count_bucket_request(operation, status)
    if size:
        metrics.count_bucket_bytes("written", size)
