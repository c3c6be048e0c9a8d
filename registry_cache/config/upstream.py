"""One upstream: its URL and names, its credentials from wherever they come, its files."""

from collections.abc import Mapping
from dataclasses import replace

from registry_cache.config.certificates import check_ca, check_key_pair
from registry_cache.config.environment import read_secret_file
from registry_cache.config.given import Given, dotted
from registry_cache.config.hosts import HUB, HUB_HOSTS, HUB_URL, Remote
from registry_cache.config.model import UpstreamConfig
from registry_cache.config.problems import InvalidValue
from registry_cache.config.secret import Secret

# The name under which Docker's own credential helpers keep Docker Hub's login.
HUB_CREDENTIAL_SERVER = "https://index.docker.io/v1/"

_PASSWORDS = ("password", "password_env", "password_file")


def upstream_config(given: Given, name: str | None, environ: Mapping[str, str]) -> UpstreamConfig:
    """Return the upstream whose keys lie below ``given.mount``; ``name`` is None for the default one."""
    if given.value("remoteurl") is None:
        url = HUB_URL if name in (None, HUB) else f"https://{name}"
        given.set("remoteurl", Remote(name or HUB, url))
    upstream = given.read(UpstreamConfig, name=name or given.value("remoteurl").name, credential_server="")
    upstream = _with_credentials(given, upstream, environ)
    _check_files(given, upstream)
    # Whoever stands in for Docker Hub does so under each of its names: clients differ in which one they write.
    hub = HUB_HOSTS if {*HUB_HOSTS} & {upstream.name, *upstream.aliases} else ()
    aliases = tuple(alias for alias in dict.fromkeys((*hub, *upstream.aliases)) if alias != upstream.name)
    server = HUB_CREDENTIAL_SERVER if upstream.remote.name == HUB else upstream.remote.name
    return replace(upstream, aliases=aliases, credential_server=server)


def _with_credentials(given: Given, upstream: UpstreamConfig, environ: Mapping[str, str]) -> UpstreamConfig:
    """Return the upstream with user name and password, or with a helper; never with both."""
    programs = [path for path in ("exec.command", "credential_helper") if given.has(path)]
    if len(programs) == 2:
        given.refuse("credential_helper", "given beside exec.command", "keep one of the two")
    username, password = upstream.username, _password(given, environ)
    if programs:
        given.ignored.extend(dotted(given.at(path)) for path in ("username", "password") if given.has(path))
        program = upstream.exec_command or f"docker-credential-{upstream.credential_helper}"
        return replace(upstream, username=None, password=None, credential_helper=program)
    has_password = password is not None or (not given.needs_passwords and any(map(given.has, _PASSWORDS)))
    if given.valid("username", *_PASSWORDS) and (username is not None) != has_password:
        here, missing = ("username", "password") if username else ("password", "username")
        given.refuse(here, f"given without {missing}", "give both, or neither for anonymous pulls")
    return replace(upstream, password=password)


def _password(given: Given, environ: Mapping[str, str]) -> Secret | None:
    ways = [path for path in _PASSWORDS if given.has(path)]
    # The environment goes before the file, also where they give the password in different ways.
    ways = [path for path in ways if given.override(given.at(path))] or ways
    if len(ways) > 1:
        given.refuse(ways[1], f"given beside {ways[0]}", "give the password in one way")
    if not ways or not given.valid(*ways):
        return None
    try:
        if ways[0] == "password_env":
            _take_from_environment(given, environ)
        elif ways[0] == "password_file":
            _take_from_file(given)
    except InvalidValue as error:
        if given.needs_passwords:
            given.refuse(ways[0], error.what, error.remedy)
    password: Secret | None = given.value("password")
    return password


def _take_from_environment(given: Given, environ: Mapping[str, str]) -> None:
    variable = given.value("password_env")
    if not environ.get(variable):
        raise InvalidValue(f"environment variable {variable} is not set", "set it, or name the one that is")
    given.set("password", Secret(environ[variable]), f"environment {variable}")


def _take_from_file(given: Given) -> None:
    path = given.value("password_file")
    text = read_secret_file(str(path))
    if not text:
        raise InvalidValue(f"{path} is empty", "write the password into it")
    given.set("password", Secret(text), f"file {path}")


def _check_files(given: Given, upstream: UpstreamConfig) -> None:
    certificate, key = upstream.client_certificate, upstream.client_key
    if upstream.ca is not None:
        check_ca(given, "ca", upstream.ca)
    if not given.valid("clientcertificate", "clientkey"):
        return
    if certificate is not None and key is not None:
        check_key_pair(given, "clientcertificate", "clientkey", certificate, key)
    elif certificate is not None or key is not None:
        alone = "clientcertificate" if certificate else "clientkey"
        given.refuse(alone, "given alone", "give clientcertificate and clientkey, both")
