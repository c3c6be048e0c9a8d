"""Name the credential helpers that are configured and not installed."""

import shutil
from collections.abc import Iterator, Mapping, Sequence

from registry_cache.config.model import UpstreamConfig


def missing_helpers(environ: Mapping[str, str], upstreams: Sequence[UpstreamConfig]) -> Iterator[str]:
    """Yield a warning for each. They are no error: what is cached is served without them."""
    for each in upstreams:
        program = each.credential_helper
        if program and shutil.which(program, path=environ.get("PATH")) is None:
            yield f"there is no program {program} on the PATH: until it is installed, {each.name} gives nothing new"
