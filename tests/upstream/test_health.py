"""What the answers of an upstream mean for the next request to it: asked, refused at once, or the one probe."""

from __future__ import annotations

import logging

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from registry_cache.errors import (
    Denied,
    RegistryError,
    TooManyRequests,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from registry_cache.oci.names import Tag
from registry_cache.upstream import health
from registry_cache.upstream.breakers import Breaker, NameBreakers, Subject
from registry_cache.upstream.errors import is_unreachable
from registry_cache.upstream.health import Health, PrivateHealth
from registry_cache.upstream.late_answers import LateAnswers
from registry_cache.upstream.rate_limits import Limits
from tests.harness.pull_rig import Clock
from tests.harness.store_rig import APP, LATEST
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import ask_head, connect

REFUSED = UpstreamUnavailable("connection refused")
SILENT = UpstreamTimeout("no answer in 2 s")
ABOUT = Subject.manifest(APP, LATEST)


class Board(PrivateHealth):
    """Also remembers what was said about being down."""

    def __init__(self) -> None:
        super().__init__()
        self.down: list[tuple[float | None, str]] = []

    def put_down(self, since: float | None, cause: str) -> None:
        self.down.append((since, cause))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The only time there is."""
    clock = Clock()
    monkeypatch.setattr(health, "Breaker", lambda _, failures: Breaker(clock, failures))
    monkeypatch.setattr(health, "NameBreakers", lambda _, failures: NameBreakers(clock, failures))
    monkeypatch.setattr(health, "LateAnswers", lambda _: LateAnswers(clock))
    return clock


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def worker(board: Board, clock: Clock) -> Health:
    return Health("docker.io", board, clock)


def response(status: int = 200, **headers: str) -> requests.Response:
    found = requests.Response()
    found.status_code = status
    found.headers = CaseInsensitiveDict({name.replace("_", "-"): value for name, value in headers.items()})
    return found


def admitted(worker: Health, *, counted: bool = False) -> bool:
    try:
        worker.admit(counted=counted, has_copy=False)
    except (TooManyRequests, UpstreamUnavailable):
        return False
    return True


def waits(worker: Health) -> bool:
    """Whether somebody who has a copy does."""
    return worker.outage(ABOUT) is None


def fail(worker: Health, error: UpstreamError, times: int) -> None:
    for _ in range(times):
        worker.record_failure(error)


@pytest.mark.parametrize(("failures", "asks"), [(1, True), (2, True), (3, False), (9, False)])
@pytest.mark.parametrize("error", [REFUSED, SILENT])
def test_after_failures_nobody_asks_and_nobody_waits(
    worker: Health, error: UpstreamError, failures: int, asks: bool
) -> None:
    fail(worker, error, failures)
    assert (admitted(worker), waits(worker)) == (asks, asks)


@pytest.mark.parametrize(("times", "who_has_a_copy_waits"), [(1, True), (2, False), (9, False)])
def test_after_waits_in_vain_nobody_waits_and_everybody_asks(
    worker: Health, board: Board, times: int, who_has_a_copy_waits: bool
) -> None:
    """Two seconds of silence say nothing to those who would wait for eight."""
    for _ in range(times):
        worker.record_late_answer(SILENT, APP)
    assert waits(worker) is who_has_a_copy_waits
    assert admitted(worker)
    assert board.down == []


def test_an_answer_in_time_is_waited_for_again(worker: Health) -> None:
    worker.record_late_answer(SILENT, APP)
    worker.record_timely_answer(APP)
    worker.record_late_answer(SILENT, APP)
    assert waits(worker)
    worker.record_late_answer(SILENT, APP)
    worker.record_answer()
    assert not waits(worker)
    worker.record_timely_answer(APP)
    assert waits(worker)


def test_what_fails_for_one_name_stops_neither_others_nor_connections(worker: Health, board: Board) -> None:
    bad, good = Subject.manifest(APP, LATEST), Subject.manifest(APP, Tag.parse("good"))
    worker.record_answer(good)
    for _ in range(9):
        worker.record_failure(REFUSED, bad)
    assert worker.outage(bad) is not None
    assert worker.outage(good) is None
    worker.admit(counted=False, has_copy=False, about=good)
    with pytest.raises(UpstreamUnavailable, match="has been failing"):
        worker.admit(counted=False, has_copy=False, about=bad)
    # Something was answered a moment ago, so the registry is not reported as down.
    assert board.down == []


def test_a_registry_that_answers_nothing_is_reported_as_down(worker: Health, board: Board, clock: Clock) -> None:
    clock.pause(health.DOWN_AFTER_SECONDS)
    for _ in range(3):
        worker.record_failure(REFUSED, Subject.manifest(APP, LATEST))
    assert board.down == [(clock.now, "connection refused")]


@pytest.mark.parametrize(
    ("outage", "expected"),
    [("stop", True), ("status", False), ("drop", False)],
)
def test_which_failures_say_that_the_registry_cannot_be_reached(
    upstream: FakeUpstream, outage: str, expected: bool
) -> None:
    registry = connect(upstream.url)
    if outage == "stop":
        upstream.stop()
    else:
        setattr(upstream.faults, outage, {"status": 500, "drop": "/v2/"}[outage])
    with pytest.raises(UpstreamUnavailable) as raised:
        registry.get_manifest(APP, LATEST)
    assert is_unreachable(raised.value) is expected


def test_the_outlook_tells_whether_upstream_may_be_asked(worker: Health, clock: Clock) -> None:
    worker.record_late_answer(SILENT, APP)
    worker.record_late_answer(SILENT, APP)
    slow = worker.outage(ABOUT)
    assert slow is not None
    assert slow.message == "docker.io has been failing for 0 s (no answer in 2 s); it is being tried again"
    assert slow.retry_after is None
    fail(worker, REFUSED, 3)
    down = worker.outage()
    assert down is not None
    assert down.message == "docker.io has been failing for 0 s (connection refused); it is tried again in 1 s"
    assert down.retry_after == 1
    clock.pause(1)
    probed = worker.outage()
    assert probed is not None
    assert probed.retry_after is None
    # It was looked at, not taken.
    assert admitted(worker)


def test_the_refusal_tells_cause_since_and_when(worker: Health, clock: Clock) -> None:
    fail(worker, REFUSED, 2)
    clock.pause(7)
    fail(worker, REFUSED, 1)
    with pytest.raises(UpstreamUnavailable) as raised:
        worker.admit(counted=False, has_copy=False)
    assert raised.value.message == ("docker.io has been failing for 7 s (connection refused); it is tried again in 1 s")
    assert raised.value.retry_after == 1


def test_any_answer_closes_it_and_is_told_once(
    worker: Health, board: Board, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock.pause(10)
    fail(worker, REFUSED, 5)
    assert board.down == [(clock.now, "connection refused")]
    clock.pause(1)
    assert admitted(worker)
    worker.record_answer()
    worker.record_answer()
    assert admitted(worker)
    assert waits(worker)
    assert board.down[1:] == [(None, "")]
    assert [each.getMessage() for each in caplog.records] == ["upstream is down", "upstream answers again"]


@pytest.mark.parametrize(("counted", "free_is_asked"), [(True, True), (False, False)])
def test_a_429_stops_what_it_was_said_of(worker: Health, clock: Clock, counted: bool, free_is_asked: bool) -> None:
    worker.record_limits(response(429, Retry_After="60"), counted=counted)
    assert not admitted(worker, counted=True)
    assert admitted(worker, counted=False) is free_is_asked
    clock.pause(59)
    assert not admitted(worker, counted=True)
    clock.pause(2)
    assert admitted(worker, counted=True)


def test_a_limit_that_another_worker_met_holds_here(board: Board, clock: Clock) -> None:
    one, other = Health("docker.io", board, clock), Health("docker.io", board, clock)
    one.record_limits(response(429, Retry_After="60"), counted=True)
    assert not admitted(other, counted=True)


def test_the_token_servers_429_stops_everything(worker: Health) -> None:
    worker.record_token_limit(TooManyRequests("the token server", retry_after=30))
    assert not admitted(worker, counted=False)


def test_the_message_tells_limit_source_and_when(worker: Health) -> None:
    headers = {"ratelimit_limit": "100;w=21600", "ratelimit_remaining": "0;w=21600", "Retry_After": "2460"}
    worker.record_limits(response(429, docker_ratelimit_source="192.0.2.1", **headers), counted=True)
    with pytest.raises(TooManyRequests) as raised:
        worker.admit(counted=True, has_copy=False)
    assert raised.value.message == (
        "docker.io limits this cache: 0 of 100 pulls left in 6 h, counted for 192.0.2.1; "
        "no cached copy; try again in 41 min"
    )
    assert raised.value.retry_after == 2460


def test_whoever_has_a_copy_is_not_told_that_there_is_none(worker: Health) -> None:
    worker.record_limits(response(429, Retry_After="60"), counted=False)
    with pytest.raises(TooManyRequests) as raised:
        worker.admit(counted=False, has_copy=True)
    assert raised.value.message == "docker.io limits this cache; try again in 60 s"


def test_upstreams_own_429_is_told_in_the_same_words_and_other_errors_as_they_are(worker: Health) -> None:
    worker.record_limits(response(429, ratelimit_limit="9", ratelimit_remaining="0", Retry_After="60"), counted=True)
    told = worker.explain(TooManyRequests("docker.io answered 429"), has_copy=False)
    assert told.message == "docker.io limits this cache: 0 of 9 pulls left; no cached copy; try again in 60 s"
    denied: RegistryError = Denied("no")
    assert worker.explain(denied, has_copy=False) is denied


def test_few_pulls_left_are_logged_once_until_there_are_many_again(
    worker: Health, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return sum("nearly used up" in each.getMessage() for each in caplog.records)

    for left, told in ((30, 0), (25, 0), (24, 1), (23, 1), (0, 1), (100, 1), (10, 2), (9, 2)):
        worker.record_limits(response(ratelimit_limit="100", ratelimit_remaining=str(left)), counted=True)
        assert warnings() == told, left


def test_an_answer_without_limits_touches_no_board(worker: Health, board: Board) -> None:
    before = board.known
    worker.record_limits(response(200, Retry_After="60"), counted=True)
    assert board.known is before == Limits()


@pytest.mark.parametrize("challenge", [["Negotiate"], ["Digest realm=x"]])
def test_a_denial_is_an_answer_too(upstream: FakeUpstream, challenge: list[str]) -> None:
    registry = connect(upstream.url)
    upstream.faults.status = 503
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable):
            ask_head(registry, APP, LATEST)
    upstream.faults.status, upstream.faults.require_token = None, True
    upstream.faults.challenges = challenge
    with pytest.raises(Denied):
        ask_head(registry, APP, LATEST)
    upstream.reset_faults()
    upstream.faults.status = 503
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match="answered 503"):
            ask_head(registry, APP, LATEST)


def limited(board: Board, counted: bool) -> Health:
    """A worker that was refused a moment ago, for an hour; its clock is the board's moment."""
    worker = Health("docker.io", board, lambda: 1000.0)
    worker.record_limits(response(429, Retry_After="3600"), counted=counted)
    return worker


@pytest.mark.parametrize(
    ("later", "free", "counted"),
    # Only the first of those who ask for what is free looks.
    [(59.0, [False, False], False), (60.0, [True, False], False), (3600.0, [True, True], True)],
)
def test_one_free_request_a_minute_looks_whether_everything_is_still_refused(
    board: Board, later: float, free: list[bool], counted: bool
) -> None:
    limited(board, counted=False)
    worker = Health("docker.io", board, lambda: 1000.0 + later)
    assert admitted(worker, counted=True) is counted
    assert [admitted(worker), admitted(worker)] == free


@pytest.mark.parametrize(
    ("answer", "lifted"),
    [
        (response(ratelimit_remaining="5"), True),
        (response(ratelimit_remaining="0"), False),
        (response(), True),
        (response(404), True),
        (response(403), False),
        (response(503), False),
        (response(429, Retry_After="3600"), False),
    ],
)
def test_the_answer_to_a_free_request_ends_a_limit_that_was_lifted(
    board: Board, answer: requests.Response, lifted: bool
) -> None:
    limited(board, counted=True)
    worker = Health("docker.io", board, lambda: 1060.0)
    assert worker.claim_look()
    assert not worker.claim_look()
    worker.record_limits(answer, counted=False)
    assert admitted(worker, counted=True) is lifted


def test_without_a_limit_nobody_looks(worker: Health) -> None:
    assert not worker.claim_look()
