"""What `status --cluster` says where there is no cluster to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache.commands.cluster import read_cluster
from registry_cache.commands.command import CommandError
from tests.harness.config_files import Loader


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("http: {secret: s}", "neither redis.addrs nor cluster.peers is given"),
        ("redis: {addrs: [redis]}", "http.secret is not given"),
        ("cluster: {peers: ['http://10.0.0.2:5050']}", "http.secret is not given"),
        ("{}", "neither redis.addrs nor cluster.peers is given, nor http.secret"),
    ],
)
def test_it_names_what_is_missing(tmp_path: Path, text: str, missing: str) -> None:
    with pytest.raises(CommandError) as caught:
        read_cluster(Loader(tmp_path).load(text))
    assert str(caught.value) == f"this node shares nothing: {missing}"
