"""An upstream's health as all workers share it, in a note in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

from registry_cache.pull.cluster.limits import NearLimits
from registry_cache.store.upstream_notes import UpstreamNote
from registry_cache.upstream.rate_limits import Limits


def account_key(*parts: str | None) -> str:
    """Return what stands for an upstream's account in the note: the same for the same account, and no secret."""
    return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False, slots=True)
class SharedHealth:
    """``upstream.health.SharedHealth`` over a note in the store.

    Limits belong to an account: those noted for another one than ``owner`` do not concern us. ``without_account`` says
    whether we go on anonymously although we have an account, which means other limits; None: they count in both cases.
    """

    note: UpstreamNote
    owner: str
    without_account: Callable[[], bool] | None
    near: NearLimits | None

    def limits(self) -> Limits:
        known = self._ours(self.note.read().get("limits"))
        newer = self.near.newer(known, anonymous=self._is_anonymous()) if self.near else None
        if newer is None:
            return known
        # For the other workers, and for when Redis is away.
        return self._update(lambda _: newer)

    def update_limits(self, change: Callable[[Limits], Limits]) -> Limits:
        updated = self._update(change)
        if self.near:
            self.near.publish(updated, anonymous=self._is_anonymous())
        return updated

    def _update(self, change: Callable[[Limits], Limits]) -> Limits:
        # The answer if the disk cannot take the note.
        updated = self._ours(self.note.read().get("limits"))

        def replace(values: object) -> object:
            nonlocal updated
            updated = change(self._ours(values))
            return {**asdict(updated), "owner": self.owner, "without_account": self._is_anonymous()}

        self.note.change("limits", replace)
        return updated

    def is_down(self) -> bool:
        return self.note.read().get("down") is not None

    def put_down(self, since: float | None, cause: str) -> None:
        self.note.change("down", lambda _: None if since is None else {"since": since, "cause": cause})

    def down(self) -> dict[str, object]:
        """Return since when and why the upstream is down; {} where it is not."""
        found = self.note.read().get("down")
        return found if isinstance(found, dict) else {}

    def _is_anonymous(self) -> bool:
        return self.without_account is not None and self.without_account()

    def _ours(self, values: object) -> Limits:
        if not isinstance(values, dict) or values.get("owner") != self.owner:
            return Limits()
        if self.without_account is not None and values.get("without_account") != self.without_account():
            return Limits()
        known = {field.name for field in fields(Limits)}
        return Limits(**{name: value for name, value in values.items() if name in known})
