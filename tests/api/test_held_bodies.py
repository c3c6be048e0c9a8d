"""Long lists wait for room, and one address cannot have all of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Response

from registry_cache.api.held_bodies import MAX_HELD, MAX_PER_CLIENT, MAX_WAITING, SMALL_SIZE, HeldBodies
from registry_cache.errors import TooManyRequests
from tests.harness.waiting import SECONDS, eventually

SIZE = MAX_PER_CLIENT // 2


def body(size: int = SIZE) -> Response:
    return Response(b" " * size)


def test_one_address_has_its_share_and_others_the_rest() -> None:
    bodies = HeldBodies(wait_seconds=0.01)
    sent = [bodies.hold(body(), "192.0.2.1") for _ in range(MAX_PER_CLIENT // SIZE)]
    with pytest.raises(TooManyRequests, match="too many long lists"):
        bodies.hold(body(), "192.0.2.1")
    others = [bodies.hold(body(), f"2001:db8:{number}::1") for number in range((MAX_HELD - MAX_PER_CLIENT) // SIZE)]
    with pytest.raises(TooManyRequests):
        bodies.hold(body(), "198.51.100.1")
    # What is small waits for nobody.
    assert bodies.hold(body(SMALL_SIZE), "192.0.2.1").get_data() == b" " * SMALL_SIZE
    sent[0].close()
    assert bodies.hold(body(), "192.0.2.1").content_length == SIZE
    assert b"".join(others[0].iter_encoded()) == b" " * SIZE


def test_who_waits_goes_on_when_one_is_sent_and_few_may_wait() -> None:
    bodies = HeldBodies(wait_seconds=SECONDS)
    first = bodies.hold(body(2 * MAX_HELD), "192.0.2.1")
    with ThreadPoolExecutor(MAX_WAITING) as pool:
        waiting = [pool.submit(bodies.hold, body(), f"198.51.100.{number}") for number in range(MAX_WAITING)]
        eventually(lambda: bodies._waiting == MAX_WAITING)
        with pytest.raises(TooManyRequests):
            bodies.hold(body(), "203.0.113.1")
        first.close()
        assert [each.result(SECONDS).content_length for each in waiting] == [SIZE] * MAX_WAITING
