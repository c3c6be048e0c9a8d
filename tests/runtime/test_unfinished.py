"""What a worker waits for before it ends."""

import pytest

from registry_cache.runtime import unfinished


def test_a_worker_is_busy_until_the_last_work_ends_however_it_does() -> None:
    assert not unfinished.is_left()
    with unfinished.work():
        with pytest.raises(ValueError, match="cut"), unfinished.work():
            raise ValueError("cut")
        assert unfinished.is_left()
    assert not unfinished.is_left()
