"""Check that a package that some key needs is installed, and say how to install it."""

from importlib.util import find_spec

from registry_cache.config.given import Given

INSTALL = "pip install 'registry-cache[cluster]'"


def require_extra(given: Given, path: str, module: str) -> None:
    """Report a key that needs a ``module`` which is not installed."""
    if find_spec(module) is None:
        given.refuse(path, f"needs the package {module}, which is not installed", f"install it: {INSTALL}")
