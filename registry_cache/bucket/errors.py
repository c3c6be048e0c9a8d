"""What can go wrong with the bucket: two errors. No boto3 here, so that who only hears of them need not import it."""

from __future__ import annotations


class BucketAway(Exception):
    """The bucket cannot be reached, or takes nothing: try again later."""


class ObjectRefused(Exception):
    """The bucket does not take this object, and never will."""
