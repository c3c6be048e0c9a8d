"""The product's application for `gunicorn tests.harness.patient:app`, with longer time-outs towards upstream.

The tests that share this server hold an upstream at a gate. On a busy machine that may take longer than the product
waits, and then it would ask again or give up. The real time-outs are tested in tests/faults.
"""

from registry_cache.pull import blob, manifest_fetch, source
from registry_cache.upstream import transport
from registry_cache.upstream.credentials import tokens

SECONDS = 50.0

manifest_fetch.SOON_SECONDS = SECONDS
blob.OTHERS_TIMEOUT_SECONDS = source.RETRY_TIMEOUT_SECONDS = SECONDS
tokens.TOKEN_TIMEOUT_SECONDS = transport.ANSWER_TIMEOUT_SECONDS = SECONDS

from wsgi import app  # noqa: E402 — the application is made at its import

__all__ = ["app"]
