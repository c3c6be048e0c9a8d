"""What browsers are told of pages of other origins, which they ask by OPTIONS."""

from __future__ import annotations

import pytest
from flask import Flask

from registry_cache.api import hooks
from registry_cache.api.cors import has_cors
from registry_cache.errors import Unauthorized
from registry_cache.runtime.connection import ENVIRON_KEY, Connection
from registry_cache.runtime.trusted_proxies import Proxies
from tests.harness.content import APP

CORS = {"access-control-allow-origin": ["*"], "Access-Control-Allow-Headers": ["Authorization", "Accept"]}


def guarded(headers: dict[str, list[str]]) -> Flask:
    """An application that wants a login for everything."""
    app = Flask("test")
    hooks.register(app, headers, Proxies())

    @app.before_request
    def refuse() -> None:
        raise Unauthorized("a login, please", challenge="Basic")

    return app


@pytest.mark.parametrize("path", ["/v2/", "/v2", f"/v2/{APP}/manifests/1", f"/v2/{APP}/blobs/x", "/v2/_catalog?n=1"])
def test_options_is_answered_without_a_login(path: str) -> None:
    answer = guarded(CORS).test_client().options(path, headers={"Origin": "https://ui.example"})

    assert (answer.status_code, answer.data, answer.headers["Allow"]) == (200, b"", "GET, HEAD, OPTIONS")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers.getlist("Access-Control-Allow-Headers") == ["Authorization", "Accept"]
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    assert "WWW-Authenticate" not in answer.headers


def test_the_answer_to_what_is_asked_then_has_them_too() -> None:
    answer = guarded(CORS).test_client().get("/v2/")

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (401, "*")


@pytest.mark.parametrize(
    ("headers", "path", "by_debug_address"),
    [
        ({}, "/v2/", False),
        ({"X-Frame-Options": ["DENY"]}, "/v2/", False),
        (CORS, "/", False),
        (CORS, "/v2x/", False),
        (CORS, "/metrics", False),
        (CORS, "/v2/", True),
    ],
)
def test_any_other_options_is_no_method_of_ours(
    headers: dict[str, list[str]], path: str, by_debug_address: bool
) -> None:
    connection = {ENVIRON_KEY: Connection(by_debug_address=by_debug_address)}
    answer = guarded(headers).test_client().options(path, environ_overrides=connection)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_no_other_method_comes_with_it() -> None:
    assert guarded(CORS).test_client().put("/v2/").status_code == 405
    assert guarded(CORS).test_client().options("/v2/a//b").status_code == 400


@pytest.mark.parametrize(
    ("headers", "expected"),
    [([], False), (["X-Control"], False), (["ACCESS-CONTROL-ALLOW-ORIGIN"], True), (["a", "Access-Control-X"], True)],
)
def test_which_headers_are_of_cors(headers: list[str], expected: bool) -> None:
    assert has_cors(headers) is expected
