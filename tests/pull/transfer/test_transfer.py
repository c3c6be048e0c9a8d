"""A transfer leads a download, or follows the one of another process to its end, whatever that is."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registry_cache.errors import (
    StoreFull,
    TooManyRequests,
    UpstreamCorrupt,
    UpstreamUnavailable,
)
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import Repository
from registry_cache.pull.blob_body import Cut
from registry_cache.pull.transfer.progress import TransferProgress
from registry_cache.pull.transfer.transfer import Transfer, TransferParts
from registry_cache.store.download_status import DownloadStatus, failed_status
from tests.harness.images import random_bytes
from tests.harness.pull_rig import SECONDS, Script, Try, drain, hurry, transfer
from tests.harness.store_rig import APP, HUB_APP, Store, children, descriptors, fail_at, open_store

DATA = random_bytes(400_000, seed=5)
DIGEST = Digest.of(DATA)
NAME = str(DIGEST)
HALF = len(DATA) // 2

# Another process that leads a download and stops in the middle of it, until it is killed or told to end somehow.
LEAD = """
import sys, time
from pathlib import Path
from registry_cache.errors import TooManyRequests
from registry_cache.oci.digest import Digest
from registry_cache.oci.names import FullName, Repository
from registry_cache.store.layout import Layout
from registry_cache.store.download_status import DownloadStatus, failed_status
from registry_cache.store.partial_downloads import Partials
OWNER = FullName("docker.io", Repository("library/app"))
source = Path(sys.argv[2]).read_bytes()
half, digest = len(source) // 2, Digest.of(source)
claim = Partials(Layout(Path(sys.argv[1]))).claim(digest)
with claim:
    partial = claim.partial()
    claim.publish(DownloadStatus(OWNER, time.time(), len(source)))
    partial.append(source[:half])
    print("half", flush=True)
    word = sys.stdin.readline().strip()
    if word == "commit":
        partial.append(source[half:])
        partial.commit()
        claim.clear()
    elif word == "wrong":
        partial.discard()
        again = claim.partial()
        again.append(source[:half + 1000])
        print("again", flush=True)
        sys.stdin.readline()
        again.append(source[half + 1000:])
        again.commit()
    elif word == "fail":
        claim.publish(failed_status(OWNER, TooManyRequests("0 of 100 left", retry_after=9)))
print("done", flush=True)
sys.stdin.readline()
"""


def followed(store: Store, script: Script, repository: Repository = APP) -> tuple[TransferProgress, threading.Thread]:
    """A transfer of this process that runs beside the test."""
    feed = TransferProgress(DIGEST)
    thread = threading.Thread(target=transfer, args=(store, script, repository, feed))
    thread.start()
    return feed, thread


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


def test_following_another_process_to_its_commit(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        feed.wait_for_answer()
        assert (feed.size, feed.owner, feed.led_here) == (len(DATA), HUB_APP, False)
        handle, head = feed.read(None, 0, HALF)
        assert DATA[:HALF].startswith(head)
        leader.hears("commit")
        assert head + feed_rest(feed, handle, len(head)) == DATA
        thread.join(SECONDS)
    assert feed.committed
    assert script.starts == []


def feed_rest(feed: TransferProgress, handle: object, at: int) -> bytes:
    got = b""
    while True:
        handle, chunk = feed.read(handle, at + len(got), 50_000)  # type: ignore[arg-type]
        if not chunk:
            return got
        got += chunk


def test_taking_over_from_a_killed_leader_unnoticed(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        handle, head = feed.read(None, 0, 5000)
        leader.kill()
        assert head + feed_rest(feed, handle, len(head)) == DATA
        thread.join(SECONDS)
    assert script.starts == [HALF]
    assert feed.led_here
    assert store.read(DIGEST) == DATA


def test_two_who_wait_and_one_takes_over(store: Store, file: Path) -> None:
    scripts = [Script(DATA), Script(DATA)]
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        follow = [followed(open_store(Path(store.layout.root)), script) for script in scripts]
        heads = [feed.read(None, 0, 5000) for feed, _ in follow]
        leader.kill()
        for (feed, thread), (handle, head) in zip(follow, heads, strict=True):
            assert head + feed_rest(feed, handle, len(head)) == DATA
            thread.join(SECONDS)
    assert sorted(script.starts for script in scripts) == [[], [HALF]]


def test_a_leader_that_begins_anew_cuts_those_who_have_read(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        handle, head = feed.read(None, 0, 5000)
        leader.hears("wrong")
        assert leader.says() == "again"
        with pytest.raises(Cut):
            feed_rest(feed, handle, len(head))
        leader.hears()
        assert drain(feed) == DATA
        thread.join(SECONDS)
    assert script.starts == []


def test_a_leaders_error_is_ours(store: Store, file: Path) -> None:
    script = Script(DATA)
    with children(LEAD, store.layout.root, file) as (leader,):
        assert leader.says() == "half"
        feed, thread = followed(store, script)
        feed.wait_for_answer()
        leader.hears("fail")
        with pytest.raises(Cut) as cut:
            drain(feed)
        assert isinstance(cut.value.error, TooManyRequests)
        assert cut.value.error.retry_after == 9
        thread.join(SECONDS)
    assert script.starts == []


def test_yesterdays_error_is_not_ours(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        claim.publish(failed_status(HUB_APP, UpstreamCorrupt("yesterday")))
    assert transfer(store, Script(DATA)).committed


def test_a_watcher_that_nobody_wants_any_more_ends(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        feed = TransferProgress(DIGEST)
        Transfer(feed, Script(DATA).source(), TransferParts(store.blobs, store.partials)).run(lambda: False)
        assert not feed.ended


def test_a_commit_that_happened_meanwhile_is_found_under_the_lock(store: Store) -> None:
    store.put(DATA)
    script = Script(DATA)
    assert drain(transfer(store, script)) == DATA
    assert script.starts == []


def test_a_truncated_blob_is_fetched_again(store: Store) -> None:
    store.put(DATA)
    os.chmod(store.layout.blob(DIGEST), 0o644)
    os.truncate(store.layout.blob(DIGEST), 10)
    assert drain(transfer(store, Script(DATA))) == DATA
    assert store.read(DIGEST) == DATA


def test_a_size_that_changes_between_tries_cuts_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    script = Script(DATA, [Try(cut=HALF, sized=False), Try(cut=1000, lie=5)])
    feed = TransferProgress(DIGEST)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(drain, feed)
        transfer(store, script, feed=feed)
        assert reading.result(SECONDS) == DATA
    assert script.starts == [0, HALF, HALF + 1000]


def test_a_defect_ends_the_feed_and_frees_the_lock(store: Store) -> None:
    before = descriptors()
    feed = transfer(store, Script(DATA, [Try(refuse=ZeroDivisionError("a defect"))]))
    with pytest.raises(Cut, match="ZeroDivisionError"):
        feed.read(None, 0, 10)
    del feed
    assert store.files("locks") == set()
    assert not descriptors() - before
    assert transfer(store, Script(DATA)).committed


def test_an_honest_error_is_left_for_others_to_see(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    script = Script(DATA, [Try(refuse=UpstreamUnavailable("503", retry_after=3)) for _ in range(9)])
    feed = transfer(store, script)
    with pytest.raises(UpstreamUnavailable):
        feed.wait_for_answer()
    status = store.partials.status(DIGEST)
    assert status is not None
    assert isinstance(status.error, UpstreamUnavailable)


def test_a_full_disk_is_an_error_of_the_feed(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "write", 2, errno.ENOSPC, tmp_path)
        feed = transfer(store, Script(DATA))
    with pytest.raises(Cut) as cut:
        drain(feed)
    assert isinstance(cut.value.error, StoreFull)
    assert transfer(store, Script(DATA)).committed


def test_a_membership_that_cannot_be_recorded_costs_a_question_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patched:
        fail_at(patched, "link", 1, errno.EIO, tmp_path)
        feed = transfer(store, Script(DATA))
    assert drain(feed) == DATA
    assert store.read(DIGEST) is None
    assert store.blobs.open_any(DIGEST)


def test_a_status_that_was_told_is_cleared_by_the_commit(store: Store) -> None:
    claim = store.partials.claim(DIGEST)
    assert claim is not None
    with claim:
        claim.publish(DownloadStatus(HUB_APP, 5.0, 7))
    transfer(store, Script(DATA))
    assert store.partials.status(DIGEST) is None
