"""`registry-cache nginx`: what it prints, what it refuses, and that the file in deploy/ is what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from registry_cache import cli
from registry_cache.deployment import nginx
from registry_cache.server import send_timeout
from tests.harness.checkout import DEPLOY, DOCS

SHIPPED = DEPLOY / "nginx" / "registry-cache.conf"
PAGE = (DOCS / "nginx.md").read_text(encoding="utf-8")
# What the shipped file was made for.
EXAMPLE = PAGE.partition("```yaml\n")[2].partition("```")[0]


class NginxCommand:
    """Runs the command with a configuration; ``out`` and ``err`` are what it printed then."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "config.yml"
        self._capsys = capsys

    def __call__(self, config: str, *arguments: str) -> int:
        self._file.write_text(config, encoding="utf-8")
        status = cli.main(["nginx", "--config", str(self._file), *arguments])
        self.out, self.err = self._capsys.readouterr()
        return status


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> NginxCommand:
    monkeypatch.setattr("os.environ", {})
    return NginxCommand(tmp_path, capsys)


def test_the_shipped_file_is_what_the_command_prints(command: NginxCommand) -> None:
    assert command(EXAMPLE) == 0

    # After a change: registry-cache nginx --config EXAMPLE --output deploy/nginx/registry-cache.conf
    assert command.out == SHIPPED.read_text(encoding="utf-8")


def test_a_file_is_replaced_by_what_is_right_alone(command: NginxCommand, tmp_path: Path) -> None:
    target = tmp_path / "conf.d" / "registry-cache.conf"
    target.parent.mkdir()
    target.write_text("what was before", encoding="utf-8")
    output = ("--output", str(target))

    assert command(EXAMPLE.replace("accel: true", "accel: yess"), *output) == 2
    assert command(EXAMPLE.replace("http.sock", "$http"), *output) == 2
    assert target.read_text(encoding="utf-8") == "what was before"
    assert command(EXAMPLE, *output) == 0
    assert target.read_text(encoding="utf-8") == SHIPPED.read_text(encoding="utf-8")
    assert [file.name for file in target.parent.iterdir()] == [target.name]


def test_a_file_that_cannot_be_written(command: NginxCommand, tmp_path: Path) -> None:
    assert command(EXAMPLE, "--output", str(tmp_path / "nowhere" / "x.conf")) == 1
    assert "cannot write" in command.err


def test_nginx_gives_up_on_its_clients_before_the_application_does() -> None:
    found = re.search(r"\n    send_timeout (\d+)s;", SHIPPED.read_text(encoding="utf-8"))
    assert found
    assert int(found[1]) < send_timeout.PROXY_SEND_TIMEOUT_SECONDS


def test_logins_are_remembered_where_only_root_makes_folders(command: NginxCommand, tmp_path: Path) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"me:$2y$10${'.' * 53}\n", encoding="utf-8")
    auth = f"auth: {{htpasswd: {{realm: x, path: {users}}}}}\n"
    assert command(EXAMPLE + auth) == 0

    assert re.findall(r"^proxy_cache_path (\S+)", command.out, re.MULTILINE) == ['"/run/registry-cache-nginx-auth"']


def test_plain_http(command: NginxCommand) -> None:
    assert command(EXAMPLE, "--plain", "--listen", "5000", "--name", "cache.lan") == 0

    text = command.out
    assert "    listen 5000;\n    server_name cache.lan;\n" in text
    assert "ssl" not in text


def test_the_operators_headers_go_before_ours(command: NginxCommand) -> None:
    headers = '  headers: {X-Content-Type-Options: [nosniff], x-cache: [theirs], X-Two: [a, "b \\"c\\""]}\n'
    assert command(EXAMPLE.replace("  accel: true\n", headers)) == 0

    text = command.out
    assert 'add_header x-cache "theirs"' in text
    assert "add_header X-Cache" not in text
    assert 'add_header X-Two "a"' in text
    assert r'add_header X-Two "b \"c\""' in text


def test_a_slow_upstream_has_its_time(command: NginxCommand) -> None:
    assert command(EXAMPLE + "proxy: {read_timeout: 10m}\n") == 0

    assert "proxy_read_timeout 12000s;" in command.out


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        (EXAMPLE.replace("net: unix\n  addr: /run/registry-cache/http.sock", "net: tcp"), [], "set http.net to unix"),
        (EXAMPLE.replace("  accel: true\n", '  headers: {X-Cost: ["5 $"]}\n'), [], "'5 $' has a $"),
        (EXAMPLE, ["--name", "a b"], "'a b'"),
        (EXAMPLE, ["--name", "a;b"], "'a;b'"),
        (EXAMPLE, ["--listen", "80;"], "'80;'"),
        (EXAMPLE, ["--socket", "http.sock"], "--socket: 'http.sock' is no path from the root"),
    ],
)
def test_what_it_refuses(command: NginxCommand, config: str, arguments: list[str], words: str) -> None:
    assert command(config, *arguments) == 2

    assert command.out == ""
    assert words in command.err


@pytest.mark.parametrize("text", ["a$b", "a\nb", "a\x00b", "a\x7fb"])
def test_what_no_word_of_nginx_can_hold(text: str) -> None:
    with pytest.raises(nginx.NginxValueError):
        nginx.quoted(text)


def test_quotes() -> None:
    assert nginx.quoted('a "b" \\ c') == '"a \\"b\\" \\\\ c"'


PAGE_CONFIG = """
version: 0.1
http: {net: unix, addr: /run/registry-cache/http.sock, debug: {addr: "%s"}}
"""


def test_the_page_is_shown_where_it_is_asked_for_and_nobody_finds_it_open(
    command: NginxCommand, tmp_path: Path
) -> None:
    users = tmp_path / "htpasswd"
    users.write_text(f"alice:$2y$10${'.' * 53}\n", encoding="utf-8")
    guarded = f"auth: {{htpasswd: {{realm: r, path: {users}}}}}\n"

    assert command(PAGE_CONFIG % "127.0.0.1:5001" + guarded, "--page") == 0
    assert "location /ui/ {\n        auth_request " in command.out
    assert "proxy_pass http://127.0.0.1:5001;" in command.out
    assert command(PAGE_CONFIG % "127.0.0.1:5001" + guarded) == 0
    assert "/ui/" not in command.out

    assert command(PAGE_CONFIG % "127.0.0.1:5001", "--page") == 2
    assert "configure users (auth.htpasswd)" in command.err
    for elsewhere in (":5001", "10.0.0.7:5001"):
        assert command(PAGE_CONFIG % elsewhere + guarded, "--page") == 2
        assert "set http.debug.addr to an address such as 127.0.0.1:5001" in command.err
