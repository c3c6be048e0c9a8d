"""An upstream that is away in any way there is: what is cached is served at once and says so, the rest says why not."""

from __future__ import annotations

import math
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import UpstreamTimeout, UpstreamUnavailable
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName
from registry_cache.pull.source import BlobSource, RangeResponse
from registry_cache.pull.transfer.download import Download
from registry_cache.store.partial_downloads import Partial
from registry_cache.upstream import transport
from tests.harness.content import APP, OCI_INDEX, digest_of
from tests.harness.fixture_types import MakeCache, MakePuller, MakeUpstream
from tests.harness.images import Image, KiB, make_image
from tests.harness.pull_rig import SECONDS, Clock
from tests.harness.raw import RawServer
from tests.harness.store_rig import APP as REPOSITORY
from tests.harness.store_rig import HUB, LATEST, open_store
from tests.harness.story import Story
from tests.harness.telling import code, message, timed, told, within
from tests.harness.tls import make_certificate
from tests.harness.upstream import FakeUpstream
from tests.harness.upstream_rig import connect
from tests.harness.waiting import eventually

ABSENT = "sha256:" + "0" * 64
# Less than whoever has no copy waits for an answer.
LONG = 0.9 * transport.ANSWER_TIMEOUT_SECONDS


def refuse(story: Story) -> None:
    story.upstream.stop()


def say_nothing(story: Story) -> None:
    story.upstream.faults.hold_before = "/v2/"


def answer_500(story: Story) -> None:
    story.upstream.faults.status = 500


def answer_503(story: Story) -> None:
    story.upstream.faults.status = 503


def hang_up(story: Story) -> None:
    story.upstream.faults.drop = "/v2/"


def lose_the_token_server(story: Story) -> None:
    story.upstream.tokens.revoke()
    story.upstream.faults.require_token, story.upstream.faults.token_status = True, 503


def hear_nothing_from_the_token_server(story: Story) -> None:
    story.upstream.tokens.revoke()
    story.upstream.faults.require_token, story.upstream.faults.hold_before = True, "/token"


OUTAGES = [
    refuse, say_nothing, answer_500, answer_503, hang_up, lose_the_token_server, hear_nothing_from_the_token_server,
]  # fmt: skip
Outage = Callable[[Story], None]


def warm(story: Story) -> Image:
    """An image of which everything is here, as its tag says."""
    image = make_image(story.upstream, tag="1", layers=1, layer_size=4 * KiB, seed=sum(story.name.encode()))
    assert story.manifest("1").status == 200
    for blob in image.blobs:
        assert story.start_blob(blob).finish().digest == blob
    return image


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_is_cached_is_served_by_tag_soon_and_then_at_once(
    make_story: Callable[[str], Story], outage: Outage
) -> None:
    story = make_story("silent")
    image = warm(story)
    outage(story)
    with within(LONG):
        answer = story.manifest("1")

    assert told(answer) == (200, "stale", image.digest)
    assert answer.body == image.manifest
    assert int(answer.headers["Age"]) < 30
    assert answer.headers["Warning"].startswith('299 - "')
    assert story.name in answer.headers["Warning"]
    for blob in image.blobs:
        assert story.blob(blob).headers["X-Cache"] == "hit"

    with within(LONG):
        story.manifest("1")
    # Open by now: nobody is asked, so nobody is waited for; but for a probe, of which there is one a second at most.
    asked, began = len(story.upstream.exchanges), time.monotonic()
    timings = [timed(lambda: story.manifest("1")) for _ in range(9)]
    # A HEAD that is answered 500 is followed by a GET: some registries know no HEADs.
    requests = 2 if outage is answer_500 else 1
    assert len(story.upstream.exchanges) - asked <= requests * (1 + time.monotonic() - began)
    refused = [seconds for answer, seconds in timings if "has been failing for" in answer.headers["Warning"]]
    assert refused
    # The median of them: any one may have shared the processor with other tests.
    assert sorted(refused)[len(refused) // 2] < 1


def test_a_token_server_that_is_not_where_it_was_is_no_denial(story: Story) -> None:
    image = warm(story)
    lose_the_token_server(story)
    story.upstream.faults.token_status = 404
    for _ in range(5):
        answer = story.manifest("1")
        assert told(answer) == (200, "stale", image.digest)
        assert answer.headers["Warning"] == f'299 - "{story.name}\'s token server answered 404 for a token"'
    assert story.manifest("2").status == 503


def test_what_is_not_cached_gets_an_error_that_says_why_in_less_than_ten_seconds(
    make_story: Callable[[str], Story],
) -> None:
    """Every outage at once, each of an upstream of its own: the silent ones take their time."""
    stories = {outage.__name__: make_story("plain") for outage in OUTAGES}
    for outage, story in zip(OUTAGES, stories.values(), strict=True):
        story.upstream.add_blob(b"never pulled")
        outage(story)
    paths = [f"manifests/{LATEST}", f"manifests/{ABSENT}", "tags/list", f"referrers/{ABSENT}"]
    asked = [(name, story, path) for name, story in stories.items() for path in paths]
    # Another blob each: whoever asks for the same one waits for whoever asks for it first.
    asked += [(name, story, f"blobs/{digest_of(name.encode())}") for name, story in stories.items()]
    # One wait for an answer; for two in a row it is too short, and with room for a busy machine.
    with within(1.9 * transport.ANSWER_TIMEOUT_SECONDS), ThreadPoolExecutor(2 * len(asked)) as clients:
        heads = clients.map(lambda each: each[1].puller.head(f"/v2/{each[1].app}/{each[2]}").status, asked)
        gets = clients.map(lambda each: each[1].puller.get(f"/v2/{each[1].app}/{each[2]}"), asked)
        answers, statuses = list(gets), list(heads)
    for (name, story, path), answer, status in zip(asked, answers, statuses, strict=True):
        assert code(answer) in ((503, "UNAVAILABLE"), (504, "UNAVAILABLE")), (name, path)
        assert status in (503, 504), (name, path)
        assert story.name in message(answer), (name, path)
        for word in ("object at", "Traceback", "urllib3", "Errno", "Pool", "None"):
            assert word not in message(answer), (name, path)
    silent = stories[say_nothing.__name__].name
    assert f"no answer in 8 s when we asked {silent} for {APP}:{LATEST}" in {message(answer) for answer in answers}


def test_while_the_breaker_is_open_what_is_not_cached_is_refused_at_once(story: Story) -> None:
    answer_503(story)
    eventually(lambda: "has been failing for" in message(story.manifest("1")))
    asked, refused = len(story.upstream.exchanges), 0
    for number in range(6):
        for path in (f"blobs/{digest_of(bytes([number]))}", f"manifests/{number}", "tags/list"):
            answer, seconds = timed(lambda path=path: story.puller.get(f"/v2/{story.app}/{path}"))  # type: ignore[misc]
            assert code(answer) == (503, "UNAVAILABLE")
            # One of them may be the probe, and a download's probe tries for as long as any.
            probe, asked = len(story.upstream.exchanges) > asked, len(story.upstream.exchanges)
            if not probe:
                refused += 1
                assert "has been failing for" in message(answer), path
                assert int(answer.headers["Retry-After"]) >= 1
                assert seconds < 5, path
    assert refused > 9


def test_it_is_asked_again_by_one_probe_and_all_is_well(story: Story) -> None:
    image = warm(story)
    refuse(story)
    for _ in range(4):
        assert story.manifest("1").headers["X-Cache"] == "stale"
    assert story.log().count("upstream is down") <= 1
    story.upstream.forget()
    story.upstream.start()

    eventually(lambda: told(story.manifest("1")) == (200, "revalidated", image.digest))

    assert "Warning" not in story.manifest("1").headers
    assert story.manifest("1").headers["X-Cache"] == "revalidated"
    # What the breaker let through was the probe alone.
    assert [each.status for each in story.upstream.exchanges] == [200] * len(story.upstream.exchanges)


def test_while_it_is_down_probes_are_few(story: Story) -> None:
    warm(story)
    answer_503(story)
    story.upstream.forget()
    began, pulls, spent = time.monotonic(), 0, 0.0
    while spent < 3.5 or pulls <= 50:
        assert story.manifest("1").headers["X-Cache"] == "stale"
        pulls, spent = pulls + 1, time.monotonic() - began
    # Two or three that opened it; probes after one second, after two more, after four more, …
    assert len(story.upstream.exchanges) <= 5 + math.log2(spent + 1)
    assert story.log().count("upstream is down") == 1


def test_a_404_removes_a_tag_and_nothing_else_does(story: Story) -> None:
    image = warm(story)
    for status in (500, 502, 503, 504, 429, 401, 403, 400, 410, 418):
        # A HEAD that is refused is asked again as a GET, and that is refused as well.
        story.upstream.faults.answer("/manifests/1", status, times=2, Retry_After="0")
        answer = story.manifest("1")
        if status in (401, 403):
            assert code(answer) == (403, "DENIED"), status
        else:
            assert told(answer) == (200, "stale", image.digest), status
        story.upstream.reset_faults()
        eventually(lambda: told(story.manifest("1")) == (200, "revalidated", image.digest))
    story.upstream.untag(APP, "1")
    assert code(story.manifest("1")) == (404, "MANIFEST_UNKNOWN")
    story.upstream.stop()
    assert story.manifest("1").status in (503, 504)
    # Its bytes are still here, under the name that cannot change.
    assert told(story.manifest(image.digest)) == (200, "hit", image.digest)


def test_the_server_starts_without_any_upstream(
    make_upstream: MakeUpstream, make_cache: MakeCache, make_puller: MakePuller, tmp_path: Path
) -> None:
    """Refused; TLS that nobody vouches for; TLS where none is spoken; one that accepts and says nothing."""
    context, certificate = make_certificate(tmp_path)
    secure, plain, gone = make_upstream(tls=context), make_upstream(), make_upstream()
    images = {each: make_image(each, tag="1", seed=number) for number, each in enumerate((secure, plain, gone))}
    mute = socket.create_server(("127.0.0.1", 0))
    garbage = RawServer(b"SSH-2.0-OpenSSH_9.6\r\n")
    gone.stop()
    # Nobody listens there; nor does another test's upstream, which would be given the port.
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    host, port = gone.address.split(":")
    kept.bind((host, int(port)))
    cache = make_cache(
        {
            "upstreams": {
                "trusted": {"remoteurl": secure.url, "ca": str(certificate)},
                "untrusted": {"remoteurl": secure.url.replace("127.0.0.1", "localhost")},
                "not-tls": {"remoteurl": plain.url.replace("http:", "https:"), "aliases": ["alias-of-not-tls"]},
                "mute": {"remoteurl": f"https://127.0.0.1:{mute.getsockname()[1]}", "connect_timeout": "1s"},
                "garbage": {"remoteurl": garbage.url},
            }
        },
        url=gone.url,
        workers=1,
    )
    puller = make_puller(cache.url)
    try:
        assert puller.get("/v2/").status == 200
        for name, words in (
            ("", "Connection refused"),
            ("untrusted/", "certificate verify failed"),
            ("not-tls/", "TLS connection to not-tls failed"),
            ("mute/", "mute"),
            ("garbage/", "garbage failed"),
        ):
            with within(1.9 * transport.ANSWER_TIMEOUT_SECONDS):
                answer = puller.get(f"/v2/{name}{APP}/manifests/1")
            assert code(answer) in ((503, "UNAVAILABLE"), (504, "UNAVAILABLE")), name
            assert words in message(answer), message(answer)
        assert puller.manifest("1", f"trusted/{APP}").body == images[secure].manifest

        # A certificate that is replaced by one that nobody vouches for is an outage like any other.
        other = tmp_path / "other"
        other.mkdir()
        make_certificate(other)
        context.load_cert_chain(other / "certificate.pem", other / "key.pem")
        secure.stop()
        secure.start()
        answer = puller.manifest("1", f"trusted/{APP}")
        assert told(answer) == (200, "stale", images[secure].digest)
        assert "certificate verify failed" in answer.headers["Warning"]

        kept.close()
        gone.start()
        eventually(lambda: told(puller.manifest("1"))[0] == 200)
        assert puller.manifest("1").body == images[gone].manifest
    finally:
        mute.close()
        garbage.stop()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A name server that knows nobody, and says so once the gate opens."""
    gate = threading.Event()

    def unknown(*asked: object, **more: object) -> None:
        gate.wait(SECONDS)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    yield gate
    gate.set()
    eventually(lambda: not [each for each in threading.enumerate() if each.name.startswith("ask ")])


def test_a_name_that_nobody_knows(names: threading.Event) -> None:
    names.set()
    with pytest.raises(UpstreamUnavailable, match="Name or service not known"):
        connect("http://registry.invalid").head_manifest(REPOSITORY, LATEST)


def test_a_name_server_that_says_nothing(names: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_SECONDS", 0.2)
    with within(SECONDS / 2), pytest.raises(UpstreamTimeout, match=r"no answer in 0\.2 s"):
        connect("http://registry.invalid").head_manifest(REPOSITORY, LATEST)
    with within(SECONDS / 2), pytest.raises(UpstreamTimeout, match=r"no answer in 0\.1 s"):
        connect("http://registry.invalid").head_manifest(REPOSITORY, LATEST, 0.1)


def test_what_refers_to_an_image_is_known_while_upstream_is_away(story: Story) -> None:
    image = warm(story)
    path = f"/v2/{story.app}/referrers/{image.digest}"
    before = story.puller.get(path).json()
    for outage in (answer_503, refuse):
        outage(story)
        answer = story.puller.get(path)
        assert (answer.status, answer.headers["X-Cache"]) == (200, "stale")
        assert answer.headers["Content-Type"] == OCI_INDEX
        assert answer.headers["Warning"].startswith('299 - "')
        assert answer.json() == before


def test_silence_after_the_first_words_of_a_manifest_is_bounded_too(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first words must come within it, however busy the machine is.
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_SECONDS", 4.0)
    digests = []
    for number, first in enumerate((0, 1, 100)):
        digests.append(Digest.parse(make_image(upstream, tag=f"held-at-{first}", seed=number).digest))
        upstream.faults.of(str(digests[-1])).hold_at = first
    with within(SECONDS / 2), ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(connect(upstream.url).get_manifest, REPOSITORY, digest) for digest in digests]
        for each in asked:
            with pytest.raises(UpstreamTimeout, match="was silent while we read the manifest"):
                each.result(SECONDS)


def test_connections_that_are_not_even_refused_are_not_tried_for_long() -> None:
    """Each costs five seconds: the second would end after the time in which a client should have its answer."""
    clock = Clock()

    def connect_in_vain(start: int, again: bool, stop: int | None = None) -> RangeResponse:
        clock.pause(5.0)
        raise UpstreamTimeout("no connection")

    source, began = BlobSource(FullName(HUB, REPOSITORY), connect_in_vain), clock.now
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Path(folder))
        claim = store.partials.claim(Digest.parse(ABSENT))
        assert claim is not None
        with claim, pytest.raises(UpstreamTimeout):
            Download(Digest.parse(ABSENT), source, Nobody(), clock, clock.pause).run(claim.partial)
    assert clock.now - began < 10


class Nobody:
    """Whom a download's progress does not concern."""

    def on_bytes(self, partial: Partial, size: int | None) -> None:
        pass

    def on_verified(self, partial: Partial) -> None:
        pass

    def on_wrong(self) -> bool:
        return True

    def on_restart(self) -> bool:
        return False


@pytest.mark.parametrize("name", ["poison", "poison{0}", "poison{0}/app{0}"])
def test_names_that_fail_keep_nobody_from_others(story: Story, name: str) -> None:
    for number in range(6):
        make_image(story.upstream, f"good/app{number}", tag="1", seed=number)
    story.upstream.faults.answer("/poison", 500)
    for number in range(30):
        answer = story.puller.get(f"/v2/{story.name}/{name.format(number)}/manifests/{number}")
        assert answer.status == 503
    goods = [story.puller.get(f"/v2/{story.name}/good/app{number}/manifests/1").status for number in range(6)]
    assert goods == [200] * 6
