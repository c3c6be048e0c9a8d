"""How many files a reader opens to follow a pull, and that docs/how-a-pull-travels.md names them."""

from __future__ import annotations

import functools
import importlib
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from registry_cache.runtime.connection import ENVIRON_KEY, Connection
from tests.harness.application import make_application
from tests.harness.checkout import REPOSITORY
from tests.harness.content import APP, OCI_MANIFEST
from tests.harness.images import random_bytes
from tests.harness.travel import Travel
from tests.harness.upstream import FakeUpstream

PAGE = REPOSITORY / "docs" / "how-a-pull-travels.md"
STEP = re.compile(r"^\d+\. `([\w/]+\.py)` `([\w.<>]+)`", re.MULTILINE)
# Names, parsed at the door: nobody opens these to follow a pull.
VOCABULARY = "oci/"


@pytest.fixture
def get(upstream: FakeUpstream, tmp_path: Path) -> Callable[[str], TestResponse]:
    client: FlaskClient = make_application(tmp_path, int(upstream.url.rpartition(":")[2])).test_client()
    server = {ENVIRON_KEY: Connection(sends_parts=True)}
    return lambda path: client.get(f"/v2/{APP}/{path}", environ_overrides=server)


def travel(get: Callable[[str], TestResponse], path: str, view: str, outcome: str) -> Travel:
    with Travel(view) as found:
        response = get(path)
        found.resume()
        next(iter(response.response), None)
    assert (response.status_code, response.headers["X-Cache"]) == (200, outcome)
    response.close()
    return found


def written(heading: str) -> list[tuple[str, str]]:
    """The steps that the page lists under a heading: file and function."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return STEP.findall(section.partition("The question itself")[0])


def compare(found: Travel, heading: str) -> None:
    steps = written(heading)
    assert list(found.steps) == [file for file, _ in steps]
    for file, function in steps:
        assert function in found.steps[file], f"{file} {function}"


def test_a_blob_hit_from_its_route_to_sendfile(upstream: FakeUpstream, get: Callable[[str], TestResponse]) -> None:
    path = f"blobs/{upstream.add_blob(random_bytes(100_000, seed=1))}"
    for _ in range(100):
        response = get(path)
        list(response.response)
        response.close()
        if response.headers["X-Cache"] == "hit":
            break
        time.sleep(0.1)

    found = travel(get, path, "blueprint.<locals>.blob", "hit")

    compare(found, "A blob that is here")
    assert len(found.steps) <= 10


def test_a_revalidated_tag_from_its_route_to_its_answer(
    upstream: FakeUpstream, get: Callable[[str], TestResponse], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.add_manifest(b"{}", OCI_MANIFEST, tag="1")
    # No confirmation is kept, each of which makes the next reader parse the record.
    monkeypatch.setattr("registry_cache.store.records.Records.touch_tag", lambda *_: None)
    for _ in range(3):
        get("manifests/1").close()

    found = travel(get, "manifests/1", "blueprint.<locals>.manifest", "revalidated")

    compare(found, "A tag that upstream confirms")
    assert len([file for file in found.steps if not file.startswith(VOCABULARY)]) <= 15


def test_every_step_of_the_page_is_in_the_code() -> None:
    steps = STEP.findall(PAGE.read_text(encoding="utf-8"))
    assert len(steps) > 40
    for file, function in steps:
        module = importlib.import_module(f"registry_cache.{file.removesuffix('.py').replace('/', '.')}")
        names = function.split(".<locals>")[0].split(".")
        assert functools.reduce(getattr, names, module), f"{file} {function}"
