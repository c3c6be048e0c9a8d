"""A configuration file: what it means, and what is said of one that cannot be."""

from __future__ import annotations

import grp
import os
import pwd
from datetime import timedelta
from pathlib import Path

import pytest

from registry_cache.config import Config, ConfigError, LogConfig, Secret, UpstreamConfig, load, load_config
from tests.harness.config_files import Loader
from tests.harness.ordinary import ordinary_user
from tests.harness.tls import make_certificate

# As shipped in the images of registry:2 and registry:3, with the section that makes a mirror of them.
STOCK = """
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
  tag:
    concurrencylimit: 8
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
proxy:
  remoteurl: https://registry-1.docker.io
  username: someone
  password: 0123
  ttl: 24h
"""


def upstream(config: Config, name: str) -> UpstreamConfig:
    return next(one for one in config.upstreams if one.name == name)


def test_without_a_file_it_mirrors_docker_hub(loader: Loader) -> None:
    config = loader.load()

    assert config.log == LogConfig(level="info", formatter="text")
    assert (config.http.host, config.http.port, config.http.socket) == ("127.0.0.1", 5000, None)
    assert (config.http.headers, config.http.tls, config.http.debug, config.http.accel) == ({}, None, None, False)
    assert config.default_upstream.name == "docker.io"
    assert config.default_upstream.remote_url == "https://registry-1.docker.io"
    assert config.default_upstream.aliases == ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
    assert config.upstreams == (config.default_upstream,)
    assert (config.ttl, config.workers, config.readers) == (timedelta(hours=168), 2, 2000)
    assert (config.source, config.ignored, config.warnings) == ("built-in defaults", (), ())


def test_a_mirrors_own_file_works_unchanged(loader: Loader) -> None:
    config = loader.load(STOCK)

    assert (config.http.host, config.http.port) == ("", 5000)
    assert config.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert config.default_upstream.username == "someone"
    assert config.default_upstream.password == Secret("0123")  # as written, and no octal number
    assert config.ttl == timedelta(hours=24)
    assert config.ignored == ("log.fields", "storage.cache", "storage.tag", "health.storagedriver")


@pytest.mark.parametrize("kept", ["password_env: HUB", "password_file: /no/such/file"])
def test_a_password_is_only_needed_to_log_in(loader: Loader, kept: str) -> None:
    environ = loader.environ(f"proxy: {{username: me, {kept}}}", {})

    config = load_config(environ, needs_passwords=False)

    assert (config.default_upstream.username, config.default_upstream.password) == ("me", None)
    with pytest.raises(ConfigError):
        load_config(environ)
    with pytest.raises(ConfigError, match="given without password"):
        load_config(loader.environ("proxy: {username: me}", {}), needs_passwords=False)


def test_the_content_of_an_old_registry_is_not_passed_over(loader: Loader) -> None:
    root = loader.folder / "store"
    (root / "docker/registry/v2/repositories").mkdir(parents=True)

    [warning] = loader.load().warnings

    assert warning.startswith(f"{root} has the content of a registry:2 in it")
    assert f"registry-cache import {root}, then remove {root}/docker" in warning


def test_the_default_file_is_read_where_nothing_names_another(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = tmp_path / "default.yml"
    monkeypatch.setattr(load, "DEFAULT_FILE", str(default))
    assert loader.load().source == load.DEFAULTS
    default.write_text("proxy: {ttl: 24h}", encoding="utf-8")

    assert (loader.load().source, loader.load().ttl) == (str(default), timedelta(hours=24))
    assert loader.load("proxy: {ttl: 1h}").ttl == timedelta(hours=1)
    assert loader.load(REGISTRY_CACHE_CONFIG="").source == load.DEFAULTS


def test_a_default_file_that_may_not_be_read_is_no_reason_to_guess(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "stat", refuse)

    [problem] = loader.problems().values()

    me, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    assert str(problem) == (
        f"{load.DEFAULT_FILE}: cannot read {load.DEFAULT_FILE}: user {me} may not; let it: "
        f"chgrp {group} {load.DEFAULT_FILE}; chmod g+r {load.DEFAULT_FILE}"
    )


def test_distributions_own_name_for_the_file(loader: Loader) -> None:
    loader.file.write_text("log: {level: debug}")
    root = str(loader.folder)

    config = load_config(
        {"REGISTRY_CONFIGURATION_PATH": str(loader.file), "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": root}
    )

    assert (config.log.level, config.source) == ("debug", str(loader.file))


def test_the_folder_is_made(loader: Loader) -> None:
    assert loader.load().root.is_dir()


def test_looking_makes_no_folder(loader: Loader) -> None:
    config = load_config(loader.environ(None, {}), create=False)

    assert not config.root.exists()


@pytest.mark.parametrize(
    ("user", "environ", "root"),
    [
        (0, {"HOME": "/root"}, "/var/lib/registry-cache"),
        (1000, {"HOME": "/home/a"}, "/home/a/.local/share/registry-cache"),
        (1000, {"HOME": "/home/a", "XDG_DATA_HOME": "/data"}, "/data/registry-cache"),
        (1000, {"HOME": "/home/a", "XDG_DATA_HOME": "data"}, "/home/a/.local/share/registry-cache"),
        (1000, {}, "/.local/share/registry-cache"),
    ],
)
def test_where_it_stores_unless_told(
    user: int, environ: dict[str, str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("os.access", lambda *_: True)

    assert load_config(environ, create=False).root == Path(root)


@pytest.mark.parametrize(
    ("text", "path", "shown"),
    [
        ("loglevel: error", "log.level", "error"),
        ("loglevel: error\nlog: {level: debug}", "log.level", "debug"),
        ("log: {level: WARN, formatter: logstash}", "log.formatter", "json"),
        ("http: {draintimeout: 1m}", "server.graceful_timeout", "1m"),
        ("proxy: {ttl: 0}", "proxy.ttl", "0"),
        ("proxy: {ttl: }", "proxy.ttl", "168h"),
        ("proxy: {ttl: ''}", "proxy.ttl", "168h"),
        ("proxy: {insecure: yes}", "proxy.insecure", "true"),
        ("proxy: {aliases: hub.local}", "proxy.aliases", "[hub.local]"),
        ("proxy: {aliases: [a.io, 'B.io:5000']}", "proxy.aliases", "[a.io, b.io:5000]"),
        ("proxy: {httpproxy: 'http://u:hunter2@p:3128'}", "proxy.httpproxy", "********"),
        ("proxy: {username: u, password: hunter2}", "proxy.password", "********"),
        ("policy: &x {ttl: 3h}\nproxy: {<<: *x}", "proxy.ttl", "3h"),
        ("http: {headers: {A: b, C: [d, e]}}", "http.headers", "{A: [b], C: [d, e]}"),
        ("storage: filesystem", "storage.filesystem.rootdirectory", "store"),
        ("upstreams: {quay.io: }", "upstreams.quay.io.remoteurl", "https://quay.io"),
        ("upstreams: {index.docker.io: }\nproxy: {remoteurl: 'http://a'}", "upstreams.index.docker.io.remoteurl", "https://registry-1.docker.io"),
    ],
)  # fmt: skip
def test_values_in_force(loader: Loader, text: str, path: str, shown: str) -> None:
    found = {entry.path: entry.value for entry in loader.load(text).in_force}

    assert found[path].endswith(shown)


def test_ttl_zero_means_for_ever(loader: Loader) -> None:
    assert loader.load("proxy: {ttl: 0}").ttl is None


@pytest.mark.parametrize(
    ("addr", "host", "port"),
    [
        ("':5000'", "", 5000),
        ("192.0.2.1:80", "192.0.2.1", 80),
        ("'[::1]:0'", "::1", 0),
        ("localhost:5000", "localhost", 5000),
    ],
)
def test_addresses(loader: Loader, addr: str, host: str, port: int) -> None:
    http = loader.load(f"http: {{addr: {addr}}}").http

    assert (http.host, http.port, http.socket) == (host, port, None)


def test_a_unix_socket(loader: Loader) -> None:
    http = loader.load("http: {net: unix, addr: /run/cache.sock}").http

    assert http.socket == Path("/run/cache.sock")


def test_several_upstreams(loader: Loader) -> None:
    config = loader.load(
        """
        upstreams:
          ghcr.io: {tag_max_age: 5m, tokenrealms: [auth.example], aliases: [gh.local]}
          localhost:5001: {remoteurl: 'http://127.0.0.1:5001', read_timeout: 5s}
        """
    )

    assert [one.name for one in config.upstreams] == ["docker.io", "ghcr.io", "localhost:5001"]
    assert upstream(config, "ghcr.io").tag_max_age == timedelta(minutes=5)
    assert upstream(config, "ghcr.io").token_realms == ("auth.example",)
    assert upstream(config, "localhost:5001").remote_url == "http://127.0.0.1:5001"
    assert upstream(config, "localhost:5001").read_timeout == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("text", "program", "server"),
    [
        ("proxy: {exec: {command: /bin/helper}}", "/bin/helper", "https://index.docker.io/v1/"),
        ("proxy: {remoteurl: 'https://a.io', credential_helper: ecr-login}", "docker-credential-ecr-login", "a.io"),
        ("proxy: {username: u, exec: {command: h, lifetime: 1h}}", "h", "https://index.docker.io/v1/"),
    ],
)
def test_credential_helpers(loader: Loader, text: str, program: str, server: str) -> None:
    default = loader.load(text).default_upstream

    assert (default.credential_helper, default.credential_server) == (program, server)
    assert (default.username, default.password) == (None, None)


def test_a_password_from_a_file_and_from_a_variable(loader: Loader) -> None:
    secret = loader.folder / "secret"
    secret.write_text("hunter2\n")

    config = loader.load(
        f"proxy: {{username: u, password_file: {secret}}}\nupstreams: {{a.io: {{username: u, password_env: THEIRS}}}}",
        THEIRS="hunter3",
    )

    assert [one.password and one.password.reveal() for one in config.upstreams] == ["hunter2", "hunter3"]
    assert config.origins["proxy.password"] == f"file {secret}"
    assert config.origins["upstreams.a.io.password"] == "environment THEIRS"
    assert "hunter" not in repr(config)


def test_what_is_switched_off_is_not_named(loader: Loader) -> None:
    config = loader.load("http: {http2: {disabled: false}, prefix: /, tls: {letsencrypt: {email: ''}}}\nredis: {}")

    assert config.ignored == ()


# One row a mistake: the file, the path under which it is reported, what is said.
MISTAKES = [
    ("", "FILE", "empty"),
    ("# nothing\n", "FILE", "empty"),
    ("- a\n- b", "FILE", "not a mapping"),
    ("just words", "FILE", "not a mapping"),
    ("a: b: c", "FILE", "not valid YAML: mapping values"),
    ("http:\n  addr: a:1\n log:\n  level: info", "FILE", "indent the keys of a section alike"),
    ("proxy:\n\tttl: 1h", "FILE", "indented by a tab; indent by spaces"),
    ("proxy:\n  ttl: 1h\n \tusername: x", "FILE", "indented by a tab; indent by spaces"),
    ("proxy: {ttl: 7d}", "proxy.ttl", "7d is in days, and the longest unit is the hour; write 168h"),
    ("proxy: {ttl: 2w}", "proxy.ttl", "2w is in weeks, and the longest unit is the hour; write 336h"),
    ("proxy: {password: *hunter2}", "FILE", "not valid YAML: found undefined alias"),
    ("a: 1\n---\nb: 2", "FILE", "not valid YAML"),
    (b"\xff\xfe\xfa", "REGISTRY_CACHE_CONFIG", "not UTF-8"),
    ("[" * 1000, "FILE", "nested too deeply"),
    ("a: &a [*a]", "a.0", "contains itself"),
    ("? {a: b}\n: c", "FILE", "a key that is not text"),
    ("log: {level: info}\nlog: {level: debug}", "log", "given twice, first on line 1"),
    ("proxy: {<<: word}", "proxy", "not a section"),
    ("version: 0.2", "version", "unknown"),
    ("log: {level: loud}", "log.level", "unknown"),
    ("log: {level: [info]}", "log.level", "a list"),
    ("log: info", "log", "not a section"),
    ("http: {addr: 5000}", "http.addr", "not host:port"),
    ("http: {addr: 'a:65536'}", "http.addr", "not host:port"),
    ("http: {net: unix}", "http.addr", "not the path of a socket"),
    (f"http: {{net: unix, addr: /{'s' * 107}}}", "http.addr", "is longer than the 107 bytes"),
    ("http: {net: udp}", "http.net", "unknown"),
    ("storage: {filesystem: {rootdirectory: ~/mirror}}", "storage.filesystem.rootdirectory", "is for a shell"),
    ("storage: {filesystem: {rootdirectory: $HOME/mirror}}", "storage.filesystem.rootdirectory", "is for a shell"),
    ("proxy: {ca: '${CERTS}/ca.pem'}", "proxy.ca", "is for a shell"),
    ("http: {headers: {Content-Length: [1]}}", "http.headers", "cannot be set"),
    ("http: {headers: {'a b': [1]}}", "http.headers", "cannot be set"),
    ("http: {headers: {a: [1], A: [2]}}", "http.headers", "twice"),
    ('http: {headers: {a: "b\\r\\nc: d"}}', "http.headers", "control character"),
    ("http: {prefix: /registry/}", "http.prefix", "not served"),
    ("http: {tls: {certificate: /c.pem}}", "http.tls.key", "missing"),
    ("http: {tls: {key: /k.pem}}", "http.tls.certificate", "missing"),
    ("http: {tls: {minimumtls: tls1.3}}", "http.tls.certificate", "missing"),
    ("http: {tls: {certificate: /no/c.pem, key: /dev/null}}", "http.tls.certificate", "No such file"),
    ("http: {tls: {letsencrypt: {hosts: [a]}}}", "http.tls.letsencrypt", "not served"),
    (
        "auth: {htpasswd: {realm: r, path: /p}}",
        "auth.htpasswd.path",
        "cannot read /p: No such file or directory; create it with: htpasswd -B -c FILE",
    ),
    ("auth: {htpasswd: {realm: r, path: /dev/null}}", "auth.htpasswd.path", "not a file"),
    ("auth: {htpasswd: {realm: r}}", "auth.htpasswd.path", "is missing"),
    ("auth: {htpasswd: {path: /p}}", "auth.htpasswd.realm", "is missing"),
    ("auth: htpasswd", "auth.htpasswd", "is missing"),
    ("auth: {token: }", "auth.token", "not served"),
    ("auth: silly", "auth.silly", "not served"),
    ("auth: {ldap: {}}", "auth.ldap", "unknown key"),
    ("storage: {azure: {container: b}}", "storage.azure", "storage driver"),
    ("storage: {s3: {bucket: b/c, region: r}}", "storage.s3.bucket", "not a valid name for a bucket"),
    ("storage: {s3: {region: eu-1}}", "storage.s3.bucket", "is missing"),
    ("storage: {s3: {bucket: abc}}", "storage.s3.region", "is missing"),
    ("storage: {s3: {bucket: abc, region: r, accesskey: a}}", "storage.s3.accesskey", "without secretkey"),
    ("storage: {s3: {bucket: abc, regionendpoint: 'ftp://a'}}", "storage.s3.regionendpoint", "not the address"),
    (
        "storage: {s3: {bucket: abc, regionendpoint: 'http://u:hunter2@a'}}",
        "storage.s3.regionendpoint",
        "not the address",
    ),
    ("storage: {s3: {bucket: abc, region: r, chunksize: 1000}}", "storage.s3.chunksize", "out of range"),
    ("storage: inmemory", "storage.inmemory", "storage driver"),
    ("proxy: {remoteurl: 'https://u:hunter2@a.io'}", "proxy.remoteurl", "credentials"),
    ("proxy: {ttl: 604800}", "proxy.ttl", "no unit"),
    ("proxy: {ttl: -1h}", "proxy.ttl", "negative"),
    ("proxy: {ttl: soon}", "proxy.ttl", "not a duration"),
    ("proxy: {read_timeout: 0}", "proxy.read_timeout", "out of range"),
    ("proxy: {insecure: maybe}", "proxy.insecure", "neither true nor false"),
    ("proxy: {username: u}", "proxy.username", "without password"),
    ("proxy: {password: hunter2}", "proxy.password", "without username"),
    ("proxy: {password: {hunter2: x}}", "proxy.password", "a section"),
    ("proxy: {username: u, password: hunter2, password_env: A}", "proxy.password_env", "beside password"),
    ("proxy: {username: u, password_env: A_B}", "proxy.password_env", "A_B is not set"),
    ("proxy: {username: u, password_env: 'hunter2!'}", "proxy.password_env", "not the name"),
    ("proxy: {username: u, password_file: /no/such}", "proxy.password_file", "cannot read /no/such"),
    ("proxy: {username: u, password_file: /dev/null}", "proxy.password_file", "is empty"),
    ("proxy: {username: u, password_file: /dev/zero}", "proxy.password_file", "longer than a secret"),
    ("proxy: {credential_helper: a/b}", "proxy.credential_helper", "not the name of a helper"),
    ("proxy: {credential_helper: a, exec: {command: b}}", "proxy.credential_helper", "beside exec.command"),
    ("proxy: {ca: /no/ca.pem}", "proxy.ca", "No such file"),
    ("proxy: {ca: /dev/null}", "proxy.ca", "cannot use"),
    ("proxy: {clientkey: /k.pem}", "proxy.clientkey", "alone"),
    ("proxy: {httpproxy: 'socks5://u:hunter2@p'}", "proxy.httpproxy", "not an http"),
    ("proxy: {httpproxy: 'proxy.lan:3128'}", "proxy.httpproxy", "write it with its scheme: http://proxy.lan:3128"),
    ("proxy: {usrname: u}", "proxy.usrname", "unknown key"),
    ("remoteurl: https://a.io", "remoteurl", "unknown key"),
    (
        "upstreams: [ghcr.io]",
        "upstreams",
        "is not a section; write each registry as a key of its own, with a colon: ghcr.io: {}",
    ),
    ("storage: /srv/cache", "storage", "if it is a folder, write it as storage.filesystem.rootdirectory; else"),
    ("http: ':5000'", "http", "if it is an address, write it as http.addr; else"),
    ("proxy: https://u:hunter2@a.io", "proxy", "if it is a registry's URL, write it as proxy.remoteurl; else"),
    (
        "upstreams: {a.io: https://a.io}",
        "upstreams.a.io",
        "if it is its URL, write it as upstreams.a.io.remoteurl; else",
    ),
    ("upstreams: a.io", "upstreams", "is not a section; write"),
    ("upstreams: {_tags: }", "upstreams._tags", "not a host name"),
    ("upstreams: {a.io: {ttl: 1h}}", "upstreams.a.io.ttl", "unknown key"),
    ("upstreams: {docker.io: }", "upstreams.docker.io", "already a name of proxy"),
    ("upstreams: {a.io: {aliases: [b.io]}, b.io: }", "upstreams.b.io", "already a name of upstreams.a.io"),
    ("server: {workers: 0}", "server.workers", "out of range"),
    ("server: {workers: many}", "server.workers", "not a whole number"),
    ('storage: {filesystem: {maxthreads: 1, rootdirectory: "a\\0b"}}', "storage.filesystem.rootdirectory", "control"),
]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("http: {tls: {certificate: CERT, key: FILE}}", "http.tls.key"),
        ("http: {tls: {certificate: FILE, key: CERT}}", "http.tls.certificate"),
        ("http: {tls: {certificate: CERT, key: CERT, clientcas: [FILE]}}", "http.tls.clientcas"),
        ("proxy: {ca: FILE}", "proxy.ca"),
        ("proxy: {clientcertificate: CERT, clientkey: FILE}", "proxy.clientkey"),
        ("proxy: {username: u, password_file: FILE}", "proxy.password_file"),
        ("auth: {htpasswd: {realm: r, path: FILE}}", "auth.htpasswd.path"),
    ],
)
@pytest.mark.parametrize("hidden", ["file", "folder"])
def test_a_file_that_we_may_not_read(ordinary_folder: Path, text: str, path: str, hidden: str) -> None:
    make_certificate(ordinary_folder)
    certificate = ordinary_folder / "both.pem"
    certificate.write_text("".join((ordinary_folder / f"{each}.pem").read_text() for each in ("certificate", "key")))
    file = ordinary_folder / "etc" / "file"
    file.parent.mkdir()
    file.write_text("secret")
    (file if hidden == "file" else file.parent).chmod(0)
    config = ordinary_folder / "config.yml"
    config.write_text(f"version: 0.1\n{text}".replace("CERT", str(certificate)).replace("FILE", str(file)))
    try:
        with ordinary_user() as user, pytest.raises(ConfigError) as caught:
            load_config({"REGISTRY_CACHE_CONFIG": str(config), "HOME": str(ordinary_folder)}, create=False)
    finally:
        file.parent.chmod(0o700)
    [problem] = caught.value.problems
    assert problem.path == path
    which = file.parent if hidden == "folder" else file
    verb = f"enter {which}" if hidden == "folder" else ""
    assert problem.what == f"cannot read {file}: user {user} may not {verb}".rstrip()
    assert f" {which}" in problem.remedy


@pytest.mark.parametrize(("text", "path", "what"), MISTAKES)
def test_a_mistake_is_named(loader: Loader, text: str | bytes, path: str, what: str) -> None:
    loader.file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as caught:
        load_config({"REGISTRY_CACHE_CONFIG": str(loader.file), "HOME": str(loader.folder)}, create=False)

    [problem] = [
        one for one in caught.value.problems if one.path != "storage.filesystem.rootdirectory" or one.path == path
    ]
    assert problem.path == path.replace("FILE", str(loader.file))
    assert what in f"{problem.what}; {problem.remedy}"
    assert problem.remedy
    assert str(loader.file) in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("proxy: {usrname: u}", "did you mean proxy.username?"),
        ("proxy: {TTL: 1h}", "did you mean proxy.ttl?"),
        ("proxy: {user: me}", "did you mean proxy.username?"),
        ("proxy: {url: https://a.io}", "did you mean proxy.remoteurl?"),
        ("health: {storagedrivr: {}}", "did you mean health.storagedriver?"),
        ("remoteurl: https://a.io", "did you mean proxy.remoteurl?"),
        ("upstream: {}", "did you mean upstreams?"),
        ("htpasswd: {realm: r}", "did you mean auth.htpasswd?"),
        ("rootdirectory: /srv", "did you mean storage.filesystem.rootdirectory?"),
        ("server: {tls: {}}", "did you mean http.tls?"),
        ("server: {zzz: 1}", "known here: graceful_timeout, readers, workers"),
    ],
)
def test_an_unknown_key_is_told_its_neighbour(loader: Loader, text: str, remedy: str) -> None:
    [problem] = loader.problems(text).values()

    assert problem.remedy == remedy


HASH = "$2y$05$" + "." * 53


def test_an_htpasswd_file(loader: Loader) -> None:
    (loader.folder / "htpasswd").write_text(f"alice:{HASH}\n", encoding="utf-8")
    config = loader.load(f"auth: {{htpasswd: {{realm: r, path: {loader.folder / 'htpasswd'}}}}}")

    assert config.auth is not None
    assert (config.auth.realm, dict(config.auth.users)) == ("r", {b"alice": HASH.encode()})
    assert HASH not in repr(config)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("# nobody\n", "has no user: nobody could pull"),
        (f"alice:{HASH}\nbob:hunter2\n", "line 2 is not hashed by bcrypt"),
        (f"alice:{HASH}\nhunter2\nalice:{HASH}\n", "line 2 is no user:hash, line 3 names a user of line 1 again"),
    ],
)
def test_an_htpasswd_file_that_cannot_be(loader: Loader, content: str, what: str) -> None:
    (loader.folder / "htpasswd").write_text(content, encoding="utf-8")
    problems = loader.problems(f"auth: {{htpasswd: {{realm: r, path: {loader.folder / 'htpasswd'}}}}}")

    assert what in problems["auth.htpasswd.path"].what
    assert "hunter2" not in str(problems)
    assert HASH not in str(problems)


def test_certificates_that_fit(loader: Loader) -> None:
    _, certificate = make_certificate(loader.folder)
    files = f"{certificate}, key: {loader.folder / 'key.pem'}"

    config = loader.load(
        f"http: {{tls: {{certificate: {files}, clientcas: {certificate}, clientauth: verify-client-cert-if-given,"
        f" ciphersuites: [tls_aes_128_gcm_sha256, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}}}\n"
        f"proxy: {{ca: {certificate}, clientcertificate: {files.replace('key', 'clientkey', 1)}}}"
    )

    assert config.http.tls is not None
    assert (config.http.tls.client_auth, config.http.tls.minimum_version) == ("optional", "tls1.2")
    assert config.http.tls.ciphers == ("ECDHE-RSA-AES128-GCM-SHA256",)
    assert config.default_upstream.client_key == loader.folder / "key.pem"


def test_what_distribution_allows_of_tls_is_read_and_the_weak_of_it_not_served(loader: Loader) -> None:
    _, certificate = make_certificate(loader.folder)
    tls = f"certificate: {certificate}, key: {loader.folder / 'key.pem'}, minimumtls: tls1.0, ciphersuites: "
    weak, strong = "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"

    config = loader.load(f"http: {{tls: {{{tls} [{weak}, {strong}]}}}}")

    assert config.http.tls is not None
    assert (config.http.tls.minimum_version, config.http.tls.ciphers) == ("tls1.2", ("ECDHE-RSA-AES256-GCM-SHA384",))
    assert config.ignored == (f"http.tls.ciphersuites {weak}", "http.tls.minimumtls")
    assert "forward secrecy" in loader.problems(f"http: {{tls: {{{tls} [{weak}]}}}}")["http.tls.ciphersuites"].what


def test_certificates_that_do_not_fit(loader: Loader) -> None:
    _, certificate = make_certificate(loader.folder)
    (loader.folder / "other").mkdir()
    _, other = make_certificate(loader.folder / "other")
    mixed = f"{certificate}, clientkey: {other.with_name('key.pem')}"

    problems = loader.problems(
        f"http: {{tls: {{certificate: {certificate}, key: {loader.folder / 'key.pem'},"
        f" clientauth: require-and-verify-client-cert}}}}\n"
        f"proxy: {{clientcertificate: {mixed}}}"
    )

    assert "without http.tls.clientcas" in problems["http.tls.clientauth"].what
    assert "key values mismatch" in problems["proxy.clientcertificate"].what


def test_everything_is_reported_at_once(loader: Loader) -> None:
    problems = loader.problems(
        "log: {level: loud}\nhttp: {addr: 1}\nproxy:\n  ttl: 7\n  nme: x\nserver: {readers: -1}",
        REGISTRY_PROXY_INSECURE="perhaps",
        REGISTRY_PROXY_USERNAME_FILE="/no/such",
        REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=str(loader.file / "store"),
    )

    assert set(problems) == {
        "log.level", "http.addr", "proxy.ttl", "proxy.nme", "server.readers", "proxy.insecure",
        "REGISTRY_PROXY_USERNAME_FILE", "storage.filesystem.rootdirectory",
    }  # fmt: skip
    assert problems["proxy.ttl"].where == "line 4"
    assert problems["proxy.insecure"].where == "environment REGISTRY_PROXY_INSECURE"


def test_the_report_is_one_line_a_problem(loader: Loader) -> None:
    with pytest.raises(ConfigError) as caught:
        loader.load("proxy:\n  ttl: 7\n  nme: x")

    head, *lines = str(caught.value).splitlines()
    assert head == f"{loader.file}: 2 problems in the configuration"
    assert [line.split(":")[0] for line in lines] == ["  proxy.nme (line 3)", "  proxy.ttl (line 2)"]


def test_no_folder_is_made_for_a_configuration_that_cannot_be(loader: Loader) -> None:
    loader.problems("log: {level: loud}")

    assert not (loader.folder / "store").exists()


@pytest.mark.parametrize("name", ["/no/such/config.yml", "/", "/dev/zero", "a\0b"])
def test_a_file_that_cannot_be_read(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"REGISTRY_CACHE_CONFIG": name})

    assert [problem.path for problem in caught.value.problems] == ["REGISTRY_CACHE_CONFIG"]


@pytest.mark.parametrize("alias", ["docker.io", "index.docker.io", "registry-1.docker.io:443"])
def test_who_stands_in_for_docker_hub_does_so_by_each_of_its_names(loader: Loader, alias: str) -> None:
    config = loader.load(f"proxy: {{remoteurl: 'http://hub_mirror:5000', aliases: [{alias}]}}")
    assert config.default_upstream.name == "hub_mirror:5000"
    assert set(config.default_upstream.aliases) == {
        *("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
    }


def test_a_bomb_of_aliases_is_no_trouble(loader: Loader) -> None:
    levels = "".join(f"    a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))

    config = loader.load(f"log:\n  fields:\n    a0: &a0 [false]\n{levels}")

    assert config.ignored == ()


@pytest.mark.parametrize("key", ["credential_helper: nowhere", "exec: {command: docker-credential-nowhere}"])
def test_a_helper_that_is_not_installed_is_named_at_the_start(loader: Loader, key: str) -> None:
    [warning] = loader.load(f"proxy: {{{key}}}").warnings
    assert warning.startswith("there is no program docker-credential-nowhere on the PATH: until it is installed, ")


@pytest.mark.parametrize("target", ["nowhere/at/all", "root"], ids=["dangling", "loop"])
def test_a_folder_that_is_a_link_to_nowhere_is_called_so(loader: Loader, target: str) -> None:
    root = loader.folder / "root"
    root.symlink_to(loader.folder / target)
    problems = loader.problems(
        f"storage: {{filesystem: {{rootdirectory: {root}}}}}",
        **{"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root)},
    )

    [problem] = problems.values()
    assert f"it is a link to {loader.folder / target}, which leads nowhere" in problem.what
