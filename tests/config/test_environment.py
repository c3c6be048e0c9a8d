"""What the environment overrides, how variables are named, and which are left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from registry_cache.config import Secret, schema
from tests.harness.config_files import Loader


@pytest.mark.parametrize(
    ("variable", "value", "path", "shown"),
    [
        ("REGISTRY_PROXY_REMOTEURL", "https://ghcr.io", "proxy.remoteurl", "https://ghcr.io"),
        ("REGISTRY_HTTP_ADDR", ":80", "http.addr", ":80"),
        ("REGISTRY_LOG_LEVEL", "debug", "log.level", "debug"),
        ("REGISTRY_LOG_FORMATTER", "json", "log.formatter", "json"),
        ("REGISTRY_LOGLEVEL", "debug", "log.level", "debug"),
        ("REGISTRY_PROXY_TTL", "0", "proxy.ttl", "0"),
        ("REGISTRY_PROXY_TAG_MAX_AGE", "1m", "proxy.tag_max_age", "1m"),
        ("REGISTRY_PROXY_INSECURE", "true", "proxy.insecure", "true"),
        ("REGISTRY_PROXY_EXEC_COMMAND", "'env'", "proxy.exec.command", "env"),
        ("REGISTRY_PROXY_ALIASES", "[a.io, b.io]", "proxy.aliases", "[a.io, b.io]"),
        ("REGISTRY_PROXY_ALIASES_0", "a.io", "proxy.aliases", "[a.io]"),
        ("REGISTRY_PROXY", "{ttl: 3h}", "proxy.ttl", "3h"),
        ("REGISTRY_HTTP_HEADERS_X-Frame-Options", "[DENY]", "http.headers", "{X-Frame-Options: [DENY]}"),
        ("REGISTRY_SERVER_GRACEFUL_TIMEOUT", "5s", "server.graceful_timeout", "5s"),
    ],
)
def test_overrides(loader: Loader, variable: str, value: str, path: str, shown: str) -> None:
    config = loader.load("version: 0.1", **{variable: value})

    [entry] = [entry for entry in config.in_force if entry.path == path]
    assert (entry.value, entry.origin) == (shown, f"environment {variable}")
    assert config.warnings == ()


def test_environment_before_file_before_default(loader: Loader) -> None:
    config = loader.load("proxy: {ttl: 1h, tag_max_age: 1h}", REGISTRY_PROXY_TTL="2h")

    assert config.ttl == timedelta(hours=2)
    assert config.origins["proxy.ttl"] == "environment REGISTRY_PROXY_TTL"
    assert config.origins["proxy.tag_max_age"] == str(loader.file)
    assert config.origins["proxy.read_timeout"] == "default"


@pytest.mark.parametrize("password", ["p #s", "a: b", "{x", "*x", "0123", "true", "null", '"', "it's", "é"])
def test_a_password_needs_no_quoting(loader: Loader, password: str) -> None:
    config = loader.load(REGISTRY_PROXY_USERNAME="u", REGISTRY_PROXY_PASSWORD=password)

    assert config.default_upstream.password == Secret(password)


def test_quotes_that_distribution_needed_are_taken_off(loader: Loader) -> None:
    config = loader.load(REGISTRY_PROXY_USERNAME="u", REGISTRY_PROXY_PASSWORD="'p #s'")

    assert config.default_upstream.password == Secret("p #s")


@pytest.mark.parametrize(
    ("content", "password"), [("p\n", "p"), ("p\r\n", "p"), ("p", "p"), (" p \n", " p "), ("'p'", "'p'")]
)
def test_a_secret_in_a_file(loader: Loader, content: str, password: str) -> None:
    file = loader.folder / "secret"
    file.write_bytes(content.encode())

    config = loader.load("proxy: {username: u, password_env: NOT_SET}", REGISTRY_PROXY_PASSWORD_FILE=str(file))

    assert config.default_upstream.password == Secret(password)
    assert config.origins["proxy.password"] == "file of REGISTRY_PROXY_PASSWORD_FILE"


def test_any_value_may_come_from_a_file(loader: Loader) -> None:
    file = loader.folder / "ttl"
    file.write_text("5h\n")

    assert loader.load(REGISTRY_PROXY_TTL_FILE=str(file)).ttl == timedelta(hours=5)


@pytest.mark.parametrize(
    ("content", "what"),
    [(None, "cannot read"), (b"\xff", "not UTF-8"), (b"a" * 70_000, "longer"), (b"p\nq", "control")],
)
def test_a_file_that_holds_no_secret(loader: Loader, content: bytes | None, what: str) -> None:
    file = loader.folder / "secret"
    if content is not None:
        file.write_bytes(content)

    problems = loader.problems(REGISTRY_PROXY_PASSWORD_FILE=str(file), REGISTRY_PROXY_USERNAME="u")

    assert any(what in problem.what for problem in problems.values())


def test_a_value_and_its_file(loader: Loader) -> None:
    problems = loader.problems(REGISTRY_PROXY_TTL="1h", REGISTRY_PROXY_TTL_FILE="/dev/null")

    assert list(problems) == ["REGISTRY_PROXY_TTL_FILE"]


def test_an_upstream_that_the_file_names(loader: Loader) -> None:
    config = loader.load(
        "upstreams: {ghcr.io: {username: u}, 'localhost:5001': }",
        REGISTRY_UPSTREAMS_GHCR_IO_PASSWORD="p",
        REGISTRY_UPSTREAMS_LOCALHOST_5001_REMOTEURL="http://127.0.0.1:5001",
    )

    assert config.upstreams[1].password == Secret("p")
    assert config.upstreams[2].remote_url == "http://127.0.0.1:5001"


def test_a_variable_that_fits_two_upstreams_fits_none(loader: Loader) -> None:
    config = loader.load("upstreams: {a-b.io: , a.b.io: }", REGISTRY_UPSTREAMS_A_B_IO_INSECURE="true")

    assert [one.insecure for one in config.upstreams] == [False] * 3
    assert "REGISTRY_UPSTREAMS_A_B_IO_INSECURE" in config.warnings[0]


def test_a_header_is_replaced_whatever_its_case(loader: Loader) -> None:
    config = loader.load("http: {headers: {X-A: [old]}}", **{"REGISTRY_HTTP_HEADERS_x-a": "[new]"})

    assert config.http.headers == {"X-A": ("new",)}


def test_an_item_of_a_list_is_replaced_and_the_rest_is_kept(loader: Loader) -> None:
    config = loader.load("proxy: {tokenrealms: [a.io, b.io]}", REGISTRY_PROXY_TOKENREALMS_1="c.io")

    assert config.default_upstream.token_realms == ("a.io", "c.io")


def test_an_empty_variable_is_none(loader: Loader) -> None:
    config = loader.load("proxy: {username: u, password: p}", REGISTRY_PROXY_USERNAME="", REGISTRY_PROXY_PASSWORD="")

    assert config.default_upstream.username is None


SERVICE_VARIABLES = [
    "PORT", "PORT_5000_TCP", "PORT_5000_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP",
    "CACHE_SERVICE_HOST", "CACHE_PORT_5000_TCP_PROTO", "NAME", "VERSION",
]  # fmt: skip


@pytest.mark.parametrize("rest", SERVICE_VARIABLES)
def test_variables_of_a_service_called_registry(loader: Loader, rest: str) -> None:
    assert loader.load(**{f"REGISTRY_{rest}": "tcp://10.0.0.1:5000"}).warnings == ()


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        (
            "REGISTRY_PROXY_TTLL",
            "environment variable REGISTRY_PROXY_TTLL names no key; did you mean REGISTRY_PROXY_TTL?",
        ),
        (
            "REGISTRY_CACHE_CONFG",
            "environment variable REGISTRY_CACHE_CONFG names no key; did you mean REGISTRY_CACHE_CONFIG?",
        ),
        ("REGISTRY_XYZ", "environment variable REGISTRY_XYZ names no key"),
        ("REGISTRY_", "environment variable REGISTRY_ names no key"),
        (
            "REGISTRY_UPSTREAMS",
            "environment variable REGISTRY_UPSTREAMS names no key; "
            "give the upstream an entry under upstreams in the file first, if only ghcr.io: {}",
        ),
        (
            "REGISTRY_UPSTREAMS_GHCR_IO_USERNAME",
            "environment variable REGISTRY_UPSTREAMS_GHCR_IO_USERNAME names no key; "
            "give the upstream an entry under upstreams in the file first, if only ghcr.io: {}",
        ),
    ],
)
def test_a_variable_that_names_no_key_is_a_warning(loader: Loader, variable: str, warning: str) -> None:
    assert loader.load(**{variable: "x"}).warnings == (warning,)


def test_a_variable_of_an_upstream_that_the_file_names_is_compared_with_its_keys(loader: Loader) -> None:
    text = "upstreams: {ghcr.io: {}}"
    [slip] = loader.load(text, REGISTRY_UPSTREAMS_GHCR_IO_USRNAME="x").warnings
    [other] = loader.load(text, REGISTRY_UPSTREAMS_QUAY_IO_USERNAME="x").warnings
    assert slip.endswith("did you mean REGISTRY_UPSTREAMS_GHCR_IO_USERNAME?")
    assert other.endswith("in the file first, if only ghcr.io: {}")


@pytest.mark.parametrize(
    ("variable", "value", "ignored"),
    [
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true", ()),
        ("REGISTRY_HEALTH_STORAGEDRIVER_ENABLED", "true", ("health.storagedriver",)),
        ("REGISTRY_HEALTH_STORAGEDRIVER_ENABLED", "false", ()),
        ("REGISTRY_REDIS_POOLSIZE", "10", ("redis.poolsize",)),
        ("REGISTRY_STORAGE", "filesystem", ()),
    ],
)
def test_distributions_other_variables(loader: Loader, variable: str, value: str, ignored: tuple[str, ...]) -> None:
    assert loader.load("version: 0.1", **{variable: value}).ignored == ignored


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("REGISTRY_AUTH", "htpasswd", "auth.htpasswd"),
        ("REGISTRY_AUTH_TOKEN_REALM", "r", "auth.token"),
        ("REGISTRY_STORAGE", "inmemory", "storage.inmemory"),
        ("REGISTRY_STORAGE_GCS_BUCKET", "b", "storage.gcs"),
        ("REGISTRY_PROXY_ALIASES", "[a", "REGISTRY_PROXY_ALIASES"),
        ("REGISTRY_PROXY", "word", "proxy"),
        ("REGISTRY_HTTP_TLS_CIPHERSUITES", "[RC4]", "http.tls.ciphersuites"),
        ("REGISTRY_HTTP_HEADERS_²", "[a]", "http.headers"),
    ],
)
def test_mistakes_in_the_environment(loader: Loader, variable: str, value: str, path: str) -> None:
    assert list(loader.problems("version: 0.1", **{variable: value})) == [path]


def test_no_two_keys_share_a_variable() -> None:
    names = [schema.environment_name(path) for path in schema.accepted(())]

    assert len(set(names)) == len(names)
