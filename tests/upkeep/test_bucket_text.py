"""What status says of the bucket: what waits, since when, and since when it takes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from registry_cache.store.bucket_note import BucketTrouble
from registry_cache.store.outbox import OutboxState
from registry_cache.upkeep.bucket_text import BucketStatus

NOW = 1_900_000_000.0  # 17:46:40


def test_all_was_sent() -> None:
    status = BucketStatus("shared", OutboxState(0, None), None)

    assert status.line(datetime.fromtimestamp(NOW, UTC)) == "shared accepts what it is sent; the outbox is empty"
    assert status.document() == {
        "name": "shared",
        "state": "ok",
        "away_since": None,
        "cause": None,
        "outbox": {"entries": 0, "oldest_at": None},
    }


def test_it_is_away() -> None:
    status = BucketStatus("shared", OutboxState(41, NOW - 700), BucketTrouble(NOW - 600, "503 SlowDown"))

    assert status.line(datetime.fromtimestamp(NOW, UTC)) == (
        "shared has accepted nothing since 17:36:40 (10 min): 503 SlowDown; "
        "41 entries in the outbox, the oldest since 17:35:00"
    )
    assert status.document() == {
        "name": "shared",
        "state": "away",
        "away_since": "2030-03-17T17:36:40Z",
        "cause": "503 SlowDown",
        "outbox": {"entries": 41, "oldest_at": "2030-03-17T17:35:00Z"},
    }
