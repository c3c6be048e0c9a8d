"""``registry-cache setup``"""

from __future__ import annotations

import json

from tests.harness.fixture_types import MakeCache


def test_the_address_is_that_of_the_configuration(make_cache: MakeCache) -> None:
    cache = make_cache({"http": {"host": "https://mirror.example.com/"}}, started=False)
    done = cache.run("setup", "podman")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# For all registries: /etc/containers/registries.conf.d/mirror.conf\n[[registry]]\n")
    assert 'location = "mirror.example.com"' in done.stdout


def test_a_url_by_hand_and_json(make_cache: MakeCache) -> None:
    done = make_cache(started=False).run("setup", "docker", "--json", "--url", "http://10.0.0.7:5000")
    told = json.loads(done.stdout)
    assert (told["client"], told["url"]) == ("docker", "http://10.0.0.7:5000")
    assert told["steps"][0]["file"] == "/etc/docker/daemon.json"
    assert {*told["steps"][0]} == {"title", "text", "file", "then"}


def test_a_guess_is_called_one(make_cache: MakeCache) -> None:
    cache = make_cache({"http": {"addr": "10.0.0.7:5000"}}, started=False)
    guess = (
        "registry-cache: http://10.0.0.7:5000 is a guess from http.addr: give the URL that clients know with --url, "
    )
    for options in ([], ["--json"]):
        assert cache.run("setup", "docker", *options).stderr == f"{guess}or with http.host\n"
    assert cache.run("setup", "docker", "--url", "http://10.0.0.7").stderr == ""


def test_behind_nginx_the_url_has_to_be_said(make_cache: MakeCache) -> None:
    cache = make_cache({"http": {"net": "unix", "addr": "/run/registry-cache-test.sock"}}, started=False)
    done = cache.run("setup", "docker")
    assert (done.returncode, done.stdout) == (2, "")
    assert "give its URL with --url, or permanently with http.host" in done.stderr
    assert cache.run("setup", "docker", "--url", "registry.example.com").returncode == 2
    assert cache.run("setup", "lynx").returncode == 2
    below = cache.run("setup", "docker", "--url", "https://example.com/mirror")
    assert below.returncode == 2
    assert (
        "--url: has a path, and clients name a registry by its host alone: end the URL after the host" in below.stderr
    )


def test_where_clients_go_without_us_is_written_as_it_is(make_cache: MakeCache) -> None:
    """Under another name than its URL's a registry is reached by that name, of which nothing says that it is plain."""
    upstreams = {"lan.example:5000": "http://lan.example:5000", "other.example": "http://10.0.0.1"}
    config = {"upstreams": {name: {"remoteurl": url} for name, url in upstreams.items()}}
    done = make_cache(config, started=False).run("setup", "containerd", "--url", "http://10.0.0.7:5000")

    assert 'server = "http://lan.example:5000"\n' in done.stdout
    assert 'server = "https://other.example"\n' in done.stdout
