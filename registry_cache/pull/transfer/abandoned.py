"""Which downloads end that go on although their readers have left. Pure.

To go on is worth it: the next pull finds more of the blob here. But each costs a connection, descriptors and memory,
and a client that asks and leaves at once pays next to nothing for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry_cache.oci.digest import Digest

# In one process. A client leaves three to ten behind when it is interrupted in the middle of an image; twenty clients
# at once are a machine that builds.
MAX_PER_UPSTREAM = 32
MAX_PER_CLIENT = 8

# Downloads of one client that were ended and still wait for a silent upstream, for as long as ``read_timeout`` says.
# With more, the client gets no new download.
MAX_ENDING_PER_CLIENT = 32


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A download without readers: ``size`` bytes are here, ``began`` then by any clock.

    ``client``: the network address that it was begun for, "" for none.
    """

    digest: Digest
    upstream: str
    client: str
    size: int
    began: float


def choose_to_end(abandoned: Sequence[Abandoned]) -> Abandoned | None:
    """Return which one to end, because its upstream or its client has too many; None where none has.

    Of these the one with the fewest bytes, as the least is lost with it; of several of them the oldest.
    """
    upstreams, clients = [each.upstream for each in abandoned], [each.client for each in abandoned]
    too_many = [
        each
        for each in abandoned
        if upstreams.count(each.upstream) > MAX_PER_UPSTREAM
        or (each.client and clients.count(each.client) > MAX_PER_CLIENT)
    ]
    return min(too_many, key=lambda each: (each.size, each.began), default=None)
