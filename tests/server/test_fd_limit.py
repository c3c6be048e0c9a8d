"""How many files a worker may open: raised as far as it may be, and a word where that is not enough."""

import resource
from collections.abc import Callable

import pytest

from registry_cache.server import fd_limit

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), 4096),
        ((4096, 4096), 4096),
        ((1024, UNLIMITED), 1_048_576),
        ((1024, 1 << 30), 1_048_576),
        ((2_000_000, 3_000_000), 2_000_000),
        ((UNLIMITED, UNLIMITED), 1_048_576),
    ],
)
def test_the_limit_is_raised(monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: int) -> None:
    limits = [before]
    set_limits: Callable[[int, tuple[int, int]], None] = lambda _, both: limits.append(both)  # noqa: E731
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", set_limits)

    assert fd_limit.raise_limit() == after
    assert limits[-1] in (before, (after, before[1]))


def test_too_few_is_said_with_the_remedy() -> None:
    warning = fd_limit.too_few(1024, 3000)

    assert warning is not None
    assert "1024" in warning
    assert "6100" in warning
    assert "LimitNOFILE=" in warning
    assert fd_limit.too_few(6100, 3000) is None
