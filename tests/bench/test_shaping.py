"""The shaped upstream gives what its settings say: never faster, and not much slower."""

import asyncio
import time
from pathlib import Path

import pytest

from bench.content import REPOSITORY, Blob, Content, manifest_path
from bench.shaped import Registry
from bench.shaping import Line
from bench.wire import Agent

SIZE = 300_000
# What is left to the kernel's buffers and a timer's slack; and what a busy machine may add.
EARLY, LATE = 0.03, 10.0


def test_a_line_is_as_fast_as_its_rate_whoever_books_it() -> None:
    line = Line(1000.0)
    assert [line.book(100, now=50.0) for _ in range(3)] == pytest.approx([50.08, 50.18, 50.28])


def test_an_idle_line_saves_up_no_burst() -> None:
    line = Line(1000.0)
    line.book(100, now=50.0)
    assert line.book(100, now=60.0) == pytest.approx(60.08)


def test_a_line_without_a_rate_is_always_free() -> None:
    assert Line(0).book(10**9, now=50.0) == 50.0


@pytest.mark.parametrize(
    ("settings", "clients", "least"),
    [
        ({"connection": 1_000_000.0}, 2, SIZE / 1_000_000),  # side by side
        ({"total": 1_000_000.0}, 2, 2 * SIZE / 1_000_000),  # one line for both
        ({"rtt": 0.05}, 1, 0.05 * 7),  # connect, 401, token, manifest, 307, connect, blob
    ],
)
def test_a_body_takes_as_long_as_the_shape_says(
    tmp_path: Path, settings: dict[str, float], clients: int, least: float
) -> None:
    content = Content(tmp_path / "content")
    image = content.image("1", [SIZE])
    seconds, sent = asyncio.run(_pulled(content, image.blobs[1], settings, clients))
    assert least - EARLY < seconds < least + LATE
    assert sent == clients * SIZE


async def _pulled(content: Content, blob: Blob, settings: dict[str, float], clients: int) -> tuple[float, int]:
    """Seconds until all have it, each with a token of its own; and what the upstream counted."""
    registry = Registry(content.folder, **{"rtt": 0.0, "connection": 0.0, "total": 0.0, **settings})
    servers = await registry.listen()
    began = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(_pull, registry.url, blob) for _ in range(clients)))
    seconds = time.perf_counter() - began
    for server in servers:
        server.close()
    return seconds, registry.counters.body_bytes


def _pull(url: str, blob: Blob) -> None:
    agent = Agent(url)
    agent.ask(manifest_path("1"))
    assert agent.ask(f"/v2/{REPOSITORY}/blobs/{blob.digest}").size == blob.size
    agent.close()
