"""What an operator means by an image to pin: at which upstream, and which images there."""

from __future__ import annotations

from registry_cache.oci.digest import Digest
from registry_cache.oci.names import refuse_url
from registry_cache.oci.pattern import ImagePattern
from registry_cache.pull.routing import Upstreams
from registry_cache.store.layout import ALGORITHMS
from registry_cache.store.pins import ANY_UPSTREAM, Pin


def pin_of(upstreams: Upstreams, image: str, now: float) -> Pin:
    """Return the pin that ``image`` names: ``library/postgres:16``, ``ghcr.io/owner/*:v1.*``, or a digest alone.

    ``now`` in seconds since the epoch. Raises NameInvalid, NameUnknown, ManifestUnknown, DigestInvalid.
    """
    refuse_url(image)
    if image.partition(":")[0] in ALGORITHMS:
        return Pin(ANY_UPSTREAM, ImagePattern("**", digest=Digest.parse(image)), now)
    # A registry's port has a colon, too; what follows the last slash has a tag's or none.
    path, slash, last = image.rpartition("/")
    name, sign, rest = last.partition("@" if "@" in last else ":")
    upstream, repository = upstreams.split(f"{path}{slash}{name}")
    return Pin(upstream, ImagePattern.parse(f"{repository}{sign}{rest}"), now)
