"""Any file and any environment give a configuration or a report of what is wrong with them; never anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from registry_cache.config import ConfigError, load_config, schema

KEYS = st.sampled_from(sorted({part for path in schema.accepted(("ghcr.io",)) for part in path}))
VARIABLES = st.sampled_from(sorted({schema.environment_name(path) for path in schema.accepted(("ghcr.io",))}))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.sampled_from(["1h", "https://a.io", "a:5000", "/tmp", "filesystem", "htpasswd", "x" * 300]),  # noqa: S108
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# What begins like a file that a configuration names, and is none.
NAMED = [
    b"alice:$2y$05$" + b"." * 53,
    b"alice:secret",
    b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n\xff",
]
WORDS = ["tls1.2", "tls1.0", "none", "required", "verify-client-cert-if-given", "TLS_AES_128_GCM_SHA256", ":5001", ":0"]
# Most of the grammar's corners are two signs long; whole documents at random hardly ever reach them.
YAML_TEXTS = st.text(st.sampled_from("abc:{}[]-?&*!|>'\"#%@`,<\n \t0\x00\ud800"), max_size=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


def load(folder: Path, content: bytes, environ: Mapping[str, str]) -> None:
    file = folder / "config.yml"
    file.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_config({"HOME": str(folder), **environ, "REGISTRY_CACHE_CONFIG": str(file)}, create=False)


@settings(max_examples=60)
@given(tree=st.dictionaries(KEYS, TREES, max_size=5) | TREES)
def test_any_structure(folder: Path, tree: object) -> None:
    load(folder, yaml.safe_dump(tree).encode(), {})


@settings(max_examples=60)
@given(data=st.data())
def test_any_value_at_any_key(folder: Path, data: st.DataObject) -> None:
    tree: object = data.draw(TREES)
    for key in reversed(data.draw(st.sampled_from(sorted(schema.accepted(("ghcr.io",)))))):
        tree = {key: tree}
    load(folder, yaml.safe_dump(tree).encode(), {})


@settings(max_examples=60)
@given(text=YAML_TEXTS)
def test_any_text(folder: Path, text: str) -> None:
    load(folder, text.encode(errors="surrogatepass"), {})


@settings(max_examples=60)
@given(
    environ=st.dictionaries(
        st.tuples(VARIABLES, st.sampled_from(["", "_FILE", "_0", "_X", "_²"])).map("".join),
        YAML_TEXTS | st.text(max_size=10),
        max_size=5,
    )
)
def test_any_environment(folder: Path, environ: dict[str, str]) -> None:
    load(folder, b"upstreams: {ghcr.io: {}}\nhttp: {headers: [a]}", environ)


@settings(max_examples=60)
@given(
    content=st.binary(max_size=60) | st.sampled_from(NAMED),
    words=st.tuples(*[SCALARS | st.sampled_from(WORDS)] * 6),
    missing=st.sampled_from(["", "certificate", "key", "path", "realm"]),
)
def test_any_file_that_it_names(folder: Path, content: bytes, words: tuple[object, ...], missing: str) -> None:
    """Certificates, keys, client authorities, users."""
    named = folder / "named"
    named.write_bytes(content)
    minimum, auth, cipher, debug, accel, realm = words
    tls: dict[str, object] = {"certificate": str(named), "key": str(named), "clientcas": [str(named)]}
    tls |= {"ciphersuites": [cipher], "minimumtls": minimum, "clientauth": auth}
    users: dict[str, object] = {"path": str(named), "realm": realm}
    for section in (tls, users):
        section.pop(missing, None)
    http = {"tls": tls, "debug": {"addr": debug}, "accel": accel}
    load(folder, yaml.safe_dump({"http": http, "auth": {"htpasswd": users}}).encode(), {})
