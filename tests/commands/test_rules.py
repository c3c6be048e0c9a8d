"""The configuration of a command beside that of the store's server."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.commands.rules import rules_of
from registry_cache.config import load_config
from registry_cache.store import server_rules
from registry_cache.store.layout import Layout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The configuration of a server that has run with the store, and mirrors the Hub and ghcr.io."""
    file = tmp_path / "config.yml"
    write(file, "{ghcr.io: {}}")
    config = load_config({"REGISTRY_CACHE_CONFIG": str(file)}, create=True)
    server_rules.remember(Layout.open(config.root), rules_of(config))
    return file


def write(file: Path, upstreams: str) -> None:
    file.write_text(
        f"storage: {{filesystem: {{rootdirectory: {file.parent / 'store'}}}}}\nupstreams: {upstreams}", encoding="utf-8"
    )


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["pin", "app"], ["unpin", "app"]])
def test_other_upstreams_than_the_servers_are_said(
    file: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments, "--config", str(file)]) == 0
    assert "mirrors" not in capsys.readouterr().err

    write(file, "{quay.io: {}}")
    assert cli.main([*arguments, "--config", str(file)]) == 0
    told = f"the server of {file.parent / 'store'} mirrors docker.io, ghcr.io, by {file}, and this command docker.io, "
    assert capsys.readouterr().err == f"registry-cache: {told}quay.io: name its configuration with --config\n"


def test_a_store_that_no_server_has_used_has_none_to_differ_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "config.yml", "{}")
    assert cli.main(["status", "--config", str(tmp_path / "config.yml")]) == 0
    assert capsys.readouterr().err == ""
