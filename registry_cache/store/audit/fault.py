"""What can be wrong with something stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry_cache.oci.digest import Digest
from registry_cache.store.disk import ReadHandle

# flipped: the bytes are not their digest's. size: another size than was stored. unreadable: the disk does not give it.
# permissions: the server may not read it. owner: looking at it counts as a use. dangling: a link to nothing, or to
# something else. torn: a record that cannot be read. lost: a record whose manifest is gone. foreign: not ours.
Kind = Literal["flipped", "size", "unreadable", "permissions", "owner", "dangling", "torn", "lost", "foreign"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with ``path``, and in words how; ``digest`` is whose it is, ``file`` the damaged bytes.

    While the handle lives, no other file takes its inode: whoever repairs can tell that this is the file.
    """

    kind: Kind
    path: str
    detail: str
    digest: Digest | None = None
    file: ReadHandle | None = None
