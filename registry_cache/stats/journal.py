"""The journal of manifests that were asked for: what its lines are, and how several of them are one pull.

<root>/statistics/journal/<YYYY-MM-DD>.<piece>.jsonl      one request a line, as a JSON list of an Entry's values

A HEAD carries the tag and the GET that follows it a digest, and then comes the GET of one platform's manifest: of one
client, for one repository, shortly after each other, and each names what the one before has told.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as _quoted
from typing import NamedTuple

# What belongs to a pull comes within this time of it: a client asks for the next thing as soon as it has one.
JOIN_SECONDS = 120.0
# Pulls of one client and repository that may go on at once, and clients with repositories that are remembered.
_MOST_OPEN, _MOST_KEYS = 8, 20_000

# Returns the digests that an index names; upstream, repository and digest are given.
Children = Callable[[str, str, str], Collection[str]]


class Entry(NamedTuple):
    """One request for a manifest, ``at`` in seconds since the epoch; "" where something is not known.

    ``reference`` as it was asked for, ``digest`` of the answer, ``size`` of its body in bytes.
    """

    at: float
    client: str
    user: str
    method: str
    upstream: str
    repository: str
    reference: str
    digest: str
    outcome: str
    status: int
    size: int

    def encode(self) -> bytes:
        """Return the line, with its end."""
        return journal_line(*self).encode()

    @classmethod
    def decode(cls, line: bytes) -> Entry | None:
        """Return what a line says; None where a power cut or somebody's editor has left something else."""
        try:
            values = json.loads(line)
            return cls(*values) if isinstance(values, list) and isinstance(values[0], float | int) else None
        except (ValueError, TypeError, IndexError, RecursionError):
            return None


def journal_line(
    at: float,
    client: str,
    user: str,
    method: str,
    upstream: str,
    repository: str,
    reference: str,
    digest: str,
    outcome: str,
    status: int,
    size: int,
) -> str:
    """Return the line of an Entry's values, with its end: a third of what json.dumps costs, for each manifest."""
    who = f"{at:.3f},{_quoted(client)},{_quoted(user)},{_quoted(method)}"
    what = f"{_quoted(upstream)},{_quoted(repository)},{_quoted(reference)},{_quoted(digest)}"
    return f"[{who},{what},{_quoted(outcome)},{status},{size}]\n"


@dataclass(slots=True)
class Pull:
    """One client's pull of one image; ``at`` in seconds since the epoch.

    ``tag``: "" where it asked by digest. ``digest``: of what it asked for. ``platforms``: digests of manifests of an
    index that it took. ``outcome`` of its first request, ``status`` of its last.
    """

    at: float
    client: str
    user: str
    upstream: str
    repository: str
    tag: str
    digest: str
    outcome: str
    status: int
    platforms: list[str] = field(default_factory=list)
    method: str = field(default="", repr=False)
    """By which it asked for the tag last."""

    @property
    def image(self) -> str:
        """The image as one would write it, with the digest only where there is no tag."""
        name = f"{self.upstream}/{self.repository}"
        return f"{name}:{self.tag}" if self.tag else f"{name}@{self.digest}"


def joined(entries: Iterable[Entry], children: Children) -> list[Pull]:
    """Return the pulls that ``entries``, oldest first, are; oldest first."""
    pulls: list[Pull] = []
    under_way: OrderedDict[tuple[str, ...], list[Pull]] = OrderedDict()
    for entry in entries:
        key = (entry.client, entry.user, entry.upstream, entry.repository)
        mine = under_way.setdefault(key, [])
        under_way.move_to_end(key)
        mine[:] = [pull for pull in mine if entry.at - pull.at <= JOIN_SECONDS][-_MOST_OPEN:]
        # The latest first: a tag that was asked for again is a pull of its own once its digest was fetched.
        if not any(_belongs(entry, pull, children) for pull in reversed(mine)):
            mine.append(_begun_by(entry))
            pulls.append(mine[-1])
        if len(under_way) > _MOST_KEYS:
            under_way.popitem(last=False)
    return pulls


def _begun_by(entry: Entry) -> Pull:
    is_digest = ":" in entry.reference
    tag, digest = ("", entry.reference) if is_digest else (entry.reference, entry.digest)
    user, upstream, repository = entry.user, entry.upstream, entry.repository
    answered = (entry.outcome, entry.status)
    return Pull(entry.at, entry.client, user, upstream, repository, tag, digest, *answered, method=entry.method)


def _belongs(entry: Entry, pull: Pull, children: Children) -> bool:
    """Whether ``entry`` is a part of ``pull``, which then knows of it."""
    if ":" not in entry.reference:
        # HEAD, then GET, of one tag. A second HEAD, or a second GET, is a second pull.
        is_part = entry.reference == pull.tag and (pull.method, entry.method) == ("HEAD", "GET")
        if is_part:
            pull.digest, pull.method = entry.digest or pull.digest, entry.method
    else:
        is_part = entry.reference in (pull.digest, *pull.platforms)
        parents = (pull.digest, *pull.platforms)
        if not is_part and any(entry.reference in children(pull.upstream, pull.repository, each) for each in parents):
            pull.platforms.append(entry.reference)
            is_part = True
    if is_part:
        pull.status = entry.status
    return is_part
