"""What upstream has said of tags within ``tag_max_age``, as all nodes know it: who asks first asks for all.

How old a word is, is told by Redis' own clock: by how much of its life is left. A node that is told of a tag keeps
that as its own, so Redis is asked only where the tag is not fresh on this node's disk, and never with ``tag_max_age``
of 0, the default.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from registry_cache.cluster.errors import RedisAway
from registry_cache.cluster.notes import Notes
from registry_cache.errors import RegistryError
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Tag
from registry_cache.pull.target import PullTarget
from registry_cache.runtime.log import Log
from registry_cache.runtime.seals import CLOCK_SKEW_SECONDS
from registry_cache.runtime.single_flight import SingleFlight
from registry_cache.store.record_format import TagRecord

_log = Log(__name__)


class NearTags:
    """What upstream has told other nodes of tags; nothing without ``notes``."""

    def __init__(self, notes: Notes | None = None, clock: Callable[[], float] = time.time) -> None:
        """``clock``: the one on which all nodes agree, in seconds since the epoch."""
        self._notes = notes
        self._clock = clock
        self._here: SingleFlight[str, TagRecord | None] = SingleFlight()

    def publish(self, target: PullTarget, tag: Tag, record: TagRecord) -> None:
        """Tell other nodes what upstream has just said."""
        life = target.tags.max_age.total_seconds()
        if self._notes is None or life <= 0:
            return
        document = {
            "digest": str(record.digest),
            "media_type": record.media_type,
            "size": record.size,
            "at": self._clock(),
            "life": life,
        }
        with contextlib.suppress(RedisAway):
            self._notes.put(_name(target, tag), document, life)

    def find(self, target: PullTarget, tag: Tag, now: datetime) -> TagRecord | None:
        """Return what upstream said to any node less than ``tag_max_age`` before ``now``, and when; None for nothing.

        Those who ask at once share one look.
        """
        if self._notes is None or not target.tags.max_age:
            return None
        notes = self._notes
        return self._here.run(_name(target, tag), lambda: self._find(notes, target, tag, now))

    def forget(self, target: PullTarget, tag: Tag) -> None:
        """Upstream says that there is no such tag."""
        if self._notes is not None and target.tags.max_age:
            with contextlib.suppress(RedisAway):
                self._notes.forget(_name(target, tag))

    def _find(self, notes: Notes, target: PullTarget, tag: Tag, now: datetime) -> TagRecord | None:
        try:
            found, left = notes.get_with_life(_name(target, tag))
            if found is None:
                return None
            age = timedelta(seconds=max(0.0, float(found["life"]) - left))
            record = TagRecord(
                Digest.parse(found["digest"]), str(found["media_type"]), int(found["size"]), now - age, now - age, None
            )
            apart = timedelta(seconds=abs(self._clock() - float(found["at"])))
        except RedisAway:
            return None
        except (ValueError, KeyError, TypeError, OverflowError, RegistryError) as error:
            _log.debug("another node's word on a tag was not understood", tag=tag, error=error)
            return None
        # Whoever writes to Redis without our secret can put an old answer back, with a new lifetime.
        is_replayed = apart > target.tags.max_age + timedelta(seconds=CLOCK_SKEW_SECONDS)
        return None if is_replayed or age >= target.tags.max_age else record


def _name(target: PullTarget, tag: Tag) -> str:
    return f"{target}:{tag}"
