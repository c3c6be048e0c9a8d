"""The application, which writes what it has counted every second: a story must not wait for its twenty."""

from registry_cache.stats import recorder

recorder.WRITE_SECONDS = 1.0

from wsgi import app  # noqa: E402 (after the line above)

__all__ = ["app"]
