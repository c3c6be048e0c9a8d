"""What can be wrong with something stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from registry_cache.oci.digest import Digest
from registry_cache.store.disk import ReadHandle

# flipped: the bytes do not match their digest. size: another size than was stored. unreadable: the disk cannot read it.
# permissions: the server may not read it. owner: reading it counts as a use. dangling: a link to nothing, or to
# something else. torn: a record that cannot be parsed. lost: a record whose manifest is gone. foreign: not ours.
Kind = Literal["flipped", "size", "unreadable", "permissions", "owner", "dangling", "torn", "lost", "foreign"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of ``path``, described in ``detail``; ``digest`` is whose it is, ``file`` the damaged bytes.

    While the handle lives no other file gets its inode, so a repair can tell whether the name still leads to this file.
    """

    kind: Kind
    path: str
    detail: str
    digest: Digest | None = None
    file: ReadHandle | None = None
