"""The product's application for `gunicorn tests.harness.patient:app`, with time for the stories of this folder.

They are about who is asked what, and hold an upstream at a gate meanwhile; on a busy machine that takes longer than the
product would wait for a real one, and then it would ask again or give up. How long it waits is told in tests/faults.
"""

from registry_cache.pull import blob, manifest_fetch, source
from registry_cache.upstream import tokens, transport

SECONDS = 50.0

manifest_fetch.SOON_SECONDS = SECONDS
blob.OTHERS_TIMEOUT_SECONDS = source.RETRY_TIMEOUT_SECONDS = SECONDS
tokens.TOKEN_TIMEOUT_SECONDS = transport.ANSWER_TIMEOUT_SECONDS = SECONDS

from wsgi import app  # noqa: E402 — the application is made at its import

__all__ = ["app"]
