"""What Flask is asked for once, and what each time."""

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import MapAdapter

from tests.harness.application import make_application
from tests.harness.content import APP

BLOB = f"/v2/{APP}/blobs/sha256:" + "0" * 64


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return make_application(tmp_path, 9).test_client()


@pytest.fixture
def searches() -> Iterator[mock.Mock]:
    """Called for each route that is looked for."""
    really = MapAdapter.match
    with mock.patch.object(MapAdapter, "match", autospec=True, side_effect=really) as match:
        yield match


def test_a_urls_route_is_looked_for_once(client: FlaskClient, searches: mock.Mock) -> None:
    for _ in range(3):
        assert client.get("/v2/").status_code == 200

    assert searches.call_count == 1


def test_a_method_has_a_route_of_its_own(client: FlaskClient, searches: mock.Mock) -> None:
    assert client.get("/v2/").data
    assert not client.head("/v2/").data
    assert client.post("/v2/").status_code == 405
    assert client.get("/v2/").data

    assert searches.call_count == 3


def test_what_has_no_route_is_not_remembered(client: FlaskClient, searches: mock.Mock) -> None:
    for _ in range(2):
        assert client.get("/nowhere").status_code == 404

    assert searches.call_count == 2


def test_a_query_is_each_requests_own(client: FlaskClient) -> None:
    unlisted = client.get(f"{BLOB}?ns=elsewhere.example")
    assert unlisted.status_code == 404
    assert "elsewhere.example" in unlisted.text
    assert "elsewhere.example" not in client.get(f"{BLOB}?ns=third.example").text
