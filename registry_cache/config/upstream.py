"""One upstream: its URL and names, its credentials from wherever they come, its files."""

from collections.abc import Mapping

from registry_cache.config import schema
from registry_cache.config.certificates import check_ca, check_key_pair
from registry_cache.config.environment import read_secret_file
from registry_cache.config.found import Found, dotted
from registry_cache.config.hosts import HUB, HUB_HOSTS, HUB_URL, Remote
from registry_cache.config.model import UpstreamConfig
from registry_cache.config.problems import Wrong
from registry_cache.config.raw import KeyPath
from registry_cache.config.secret import Secret

# What Docker's own credential helpers keep Docker Hub's login under.
HUB_CREDENTIAL_SERVER = "https://index.docker.io/v1/"

_PASSWORDS = (schema.PASSWORD, schema.PASSWORD_ENV, schema.PASSWORD_FILE)


def upstream_config(found: Found, mount: KeyPath, name: str | None, environ: Mapping[str, str]) -> UpstreamConfig:
    remote = found.get(schema.REMOTE_URL, mount)
    if remote is None:
        remote = Remote(HUB, HUB_URL) if name in (None, HUB) else Remote(name or "", f"https://{name}")
        found.set(schema.REMOTE_URL, remote, mount)
    name = name or remote.name
    username, password, program = _credentials(found, mount, environ)
    _check_upstream_files(found, mount)
    return UpstreamConfig(
        name=name,
        remote_url=remote.url,
        aliases=_aliases(name, found.get(schema.ALIASES, mount) or ()),
        username=username,
        password=password,
        credential_helper=program,
        credential_server=HUB_CREDENTIAL_SERVER if remote.name == HUB else remote.name,
        credential_lifetime=found.get(schema.EXEC_LIFETIME, mount),
        ca=found.get(schema.CA, mount),
        client_certificate=found.get(schema.CLIENT_CERTIFICATE, mount),
        client_key=found.get(schema.CLIENT_KEY, mount),
        insecure=found.need(schema.INSECURE, mount),
        http_proxy=found.get(schema.HTTP_PROXY, mount),
        connect_timeout=found.need(schema.CONNECT_TIMEOUT, mount),
        read_timeout=found.need(schema.READ_TIMEOUT, mount),
        tag_timeout=found.need(schema.TAG_TIMEOUT, mount),
        token_realms=found.get(schema.TOKEN_REALMS, mount) or (),
        tag_max_age=found.need(schema.TAG_MAX_AGE, mount),
        blob_requests=found.need(schema.BLOB_REQUESTS, mount),
        layers_ahead=found.need(schema.LAYERS_AHEAD, mount),
        pull_fallback=found.need(schema.PULL_FALLBACK, mount),
    )


def _aliases(name: str, given: tuple[str, ...]) -> tuple[str, ...]:
    hub = tuple(host for host in HUB_HOSTS if host != HUB) if name == HUB else ()
    return tuple(alias for alias in dict.fromkeys((*hub, *given)) if alias != name)


def _credentials(
    found: Found, mount: KeyPath, environ: Mapping[str, str]
) -> tuple[str | None, Secret | None, str | None]:
    """User name, password and helper; never both a password and a helper."""
    programs = [one for one in (schema.EXEC_COMMAND, schema.CREDENTIAL_HELPER) if found.given(one, mount)]
    if len(programs) == 2:
        found.wrong(schema.CREDENTIAL_HELPER.at(mount), "given beside exec.command", "keep one of the two")
    username, password = found.get(schema.USERNAME, mount), _password(found, mount, environ)
    if programs:
        unused = [one.at(mount) for one in (schema.USERNAME, schema.PASSWORD) if found.given(one, mount)]
        found.ignored.extend(map(dotted, unused))
        name = found.get(schema.CREDENTIAL_HELPER, mount)
        return None, None, found.get(schema.EXEC_COMMAND, mount) or f"docker-credential-{name}"
    if found.well(schema.USERNAME, *_PASSWORDS, mount=mount) and (username is None) != (password is None):
        here, missing = (schema.USERNAME.at(mount), "password") if username else (schema.PASSWORD.at(mount), "username")
        found.wrong(here, f"given without {missing}", "give both, or neither for anonymous pulls")
    return username, password, None


def _password(found: Found, mount: KeyPath, environ: Mapping[str, str]) -> Secret | None:
    given = [one for one in _PASSWORDS if found.given(one, mount)]
    # The environment goes before the file, also where they give the password in different ways.
    given = [one for one in given if found.overridden(one.at(mount))] or given
    if len(given) > 1:
        found.wrong(given[1].at(mount), f"given beside {given[0].path}", "give the password in one way")
    if not given or not found.well(*given, mount=mount):
        return None
    try:
        if given[0] is schema.PASSWORD_ENV:
            return _from_environment(found, mount, environ)
        if given[0] is schema.PASSWORD_FILE:
            return _from_file(found, mount)
    except Wrong as wrong:
        found.wrong(given[0].at(mount), wrong.what, wrong.remedy)
    return found.get(schema.PASSWORD, mount)


def _from_environment(found: Found, mount: KeyPath, environ: Mapping[str, str]) -> Secret:
    variable = found.need(schema.PASSWORD_ENV, mount)
    if not environ.get(variable):
        raise Wrong(f"environment variable {variable} is not set", "set it, or name the one that is")
    password = Secret(environ[variable])
    found.set(schema.PASSWORD, password, mount, f"environment {variable}")
    return password


def _from_file(found: Found, mount: KeyPath) -> Secret:
    path = found.need(schema.PASSWORD_FILE, mount)
    text = read_secret_file(str(path))
    if not text:
        raise Wrong(f"{path} is empty", "write the password into it")
    password = Secret(text)
    found.set(schema.PASSWORD, password, mount, f"file {path}")
    return password


def _check_upstream_files(found: Found, mount: KeyPath) -> None:
    ca, certificate = found.get(schema.CA, mount), found.get(schema.CLIENT_CERTIFICATE, mount)
    key = found.get(schema.CLIENT_KEY, mount)
    if ca is not None:
        check_ca(found, schema.CA.at(mount), ca)
    if not found.well(schema.CLIENT_CERTIFICATE, schema.CLIENT_KEY, mount=mount):
        return
    if certificate is not None and key is not None:
        check_key_pair(found, schema.CLIENT_CERTIFICATE.at(mount), certificate, key)
    elif certificate is not None or key is not None:
        alone = schema.CLIENT_CERTIFICATE if certificate else schema.CLIENT_KEY
        found.wrong(alone.at(mount), "given alone", "give clientcertificate and clientkey, both")
