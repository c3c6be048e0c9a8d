"""The stories of this folder share one server."""

from tests.harness.serving import start
from tests.harness.shared_cache import cache, shared_cache, shared_upstream, small_disk, upstream, workers

__all__ = ["cache", "shared_cache", "shared_upstream", "small_disk", "start", "upstream", "workers"]
