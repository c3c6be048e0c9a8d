"""A stop: what is under way finishes, what only waits does not hold it up."""

import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection

from tests.conftest import MakeCache
from tests.harness.images import random_bytes
from tests.harness.pullers import Puller
from tests.harness.upstream import FakeUpstream
from tests.server.waiting import eventually

MiB = 1024 * 1024
# gunicorn looks once a second whether to stop; its own grace, which idle connections used to take whole, is 30.
PROMPT_SECONDS = 20.0


def test_idle_connections_do_not_hold_up_a_stop(upstream: FakeUpstream, make_cache: MakeCache) -> None:
    cache = make_cache()
    idle = [HTTPConnection(cache.address) for _ in range(6)]
    for connection in idle:
        connection.request("GET", "/v2/")
        assert connection.getresponse().read() == b"{}"

    began = time.monotonic()
    cache.terminate()
    assert time.monotonic() - began < PROMPT_SECONDS

    for connection in idle:
        connection.close()
    cache.start()


def test_a_transfer_under_way_finishes_before_the_stop(
    upstream: FakeUpstream, make_cache: MakeCache, make_puller: Callable[[str], Puller]
) -> None:
    cache = make_cache()
    blob = upstream.add_blob(random_bytes(4 * MiB, seed=1))
    upstream.faults.hold_at = 1 * MiB
    pull = make_puller(cache.url).start_blob("library/app", blob)
    pull.wait_for(1 * MiB // 2)

    stop = threading.Thread(target=cache.terminate)
    stop.start()
    eventually(lambda: "Handling signal: term" in cache.log_text())
    upstream.faults.gate.set()

    assert pull.finish().digest == blob
    stop.join()
    cache.start()
