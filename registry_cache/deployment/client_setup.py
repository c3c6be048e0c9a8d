"""The lines that set up a client to pull through this cache: which file holds what, and what to type. Pure.

docs/clients.md has the same with its reasons, and says which of them were tried with the real programs: tests/clients
pulls by these lines with docker, containerd, podman and skopeo.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

HUB = "docker.io"
# Where Docker Hub's registry is; any other registry is under its own name.
_HUB_SERVER = "registry-1.docker.io"
# Older ones refuse a file with what newer ones need to ask the mirror for signatures; without it, dockerd asks the
# registry itself for those, and its pull fails where that cannot be reached.
_CAPABILITIES = """\
  # containerd 2.2 and later, and dockerd 29.1 and later: ["pull", "resolve", "referrers"]
  capabilities = ["pull", "resolve"]"""
# Prints what HTTP sends of a name and a password.
_ENCODE = "printf %s 'NAME:PASSWORD' | base64 -w 0"
_CRIO_LOGINS = "/etc/crio/auth.json"


@dataclass(frozen=True, slots=True)
class Mirror:
    """This cache as its clients reach it: ``url`` is scheme, host and perhaps port.

    ``registries``: what it caches, by name; the first is what a request means that names none. ``needs_login``: it
    asks for a password. ``plain``: those registries that themselves speak plain HTTP, where clients go without us.
    """

    url: str
    registries: Sequence[str]
    needs_login: bool = False
    plain: Collection[str] = ()

    @property
    def host(self) -> str:
        """Host and perhaps port, as in the URL."""
        return self.url.partition("://")[2]

    @property
    def address(self) -> str:
        """Return what stands in front of an image's name.

        Without a dot or a port it would be a folder of Docker Hub's, to all clients.
        """
        if "." in self.host or ":" in self.host or self.host == "localhost":
            return self.host
        return f"{self.host}:{80 if self.is_plain else 443}"

    @property
    def is_plain(self) -> bool:
        return self.url.startswith("http://")

    @property
    def default(self) -> str:
        return self.registries[0]

    @property
    def can_be_dockers_mirror(self) -> bool:
        """Whether dockerd may ask here for Docker Hub's images in place of Docker Hub.

        To a mirror that asks for a login it would send the user's password for Docker Hub.
        """
        return self.default == HUB and not self.needs_login

    def path(self, registry: str) -> str:
        """Return where the images of ``registry`` are, as a name's beginning."""
        return self.address if registry == self.default else f"{self.address}/{registry}"


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One thing to do: ``text`` goes into ``file``, or is typed where ``file`` is "". ``then``: what makes it so."""

    title: str
    text: str
    file: str = ""
    then: str = ""


def steps(client: str, mirror: Mirror) -> list[SetupStep]:
    """Return what to do for one of ``CLIENTS``, in order."""
    return CLIENTS[client](mirror)


def _docker(mirror: Mirror) -> list[SetupStep]:
    is_mirror = mirror.can_be_dockers_mirror
    keys: dict[str, object] = {"registry-mirrors": [mirror.url]} if is_mirror else {}
    others = [name for name in mirror.registries if name != HUB or not is_mirror]
    if others and mirror.is_plain:
        # dockerd takes plain HTTP from a mirror, and from no other registry but those on its own machine.
        keys["insecure-registries"] = [mirror.address]
    found = []
    if keys:
        title = "For images of Docker Hub" if is_mirror else "To allow plain HTTP"
        text = json.dumps(keys, indent=2)
        found.append(SetupStep(title, text, "/etc/docker/daemon.json", "systemctl restart docker"))
    pulls = "\n".join(f"docker pull {mirror.path(name)}/OWNER/IMAGE:TAG" for name in others)
    found += _login("docker login", mirror)
    title = "For other registries, by this address" if is_mirror else "Pull by this address"
    return [*found, SetupStep(title, pulls)] if others else found


def _login(command: str, mirror: Mirror) -> list[SetupStep]:
    return [SetupStep("Log in", f"{command} {mirror.address}")] if mirror.needs_login else []


def _containerd(mirror: Mirror) -> list[SetupStep]:
    config = (
        'version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n\n'
        "# containerd 2 has version = 3, and this section instead:\n"
        '# [plugins."io.containerd.cri.v1.images".registry]'
    )
    once = SetupStep("Once", config, "/etc/containerd/config.toml", "systemctl restart containerd")
    return [once, *(_hosts(mirror, name) for name in mirror.registries)]


def _hosts(mirror: Mirror, registry: str) -> SetupStep:
    server = _HUB_SERVER if registry == HUB else registry
    file = f"/etc/containerd/certs.d/{registry}/hosts.toml"
    scheme = "http" if registry in mirror.plain else "https"
    text = f'server = "{scheme}://{server}"\n\n[host."{mirror.url}"]\n{_CAPABILITIES}'
    if not mirror.needs_login:
        return SetupStep(f"For {registry}", text, file)
    # ctr reads it as well, unlike the section for logins of containerd's own file, which is deprecated there.
    text += f'\n\n[host."{mirror.url}".header]\n  # In place of BASE64, what this prints: {_ENCODE}'
    return SetupStep(f"For {registry}", f'{text}\n  Authorization = "Basic BASE64"', file, f"chmod 600 {file}")


def _k3s(mirror: Mirror) -> list[SetupStep]:
    lines = ["mirrors:"]
    for name in mirror.registries:
        lines += [f"  {json.dumps(name)}:", "    endpoint:", f"      - {json.dumps(mirror.url)}"]
    if mirror.needs_login:
        lines += ["configs:", f"  {json.dumps(mirror.host)}:", "    auth:", "      username: NAME"]
        lines += ["      password: PASSWORD"]
    # A node that runs no control plane has a unit of its own.
    restart = "systemctl restart k3s || systemctl restart k3s-agent"
    return [SetupStep("On each node", "\n".join(lines), "/etc/rancher/k3s/registries.yaml", restart)]


def _registries_conf(mirror: Mirror) -> str:
    def insecure(is_plain: bool) -> str:
        return "\ninsecure = true" if is_plain else ""

    return "\n\n".join(
        f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"{insecure(name in mirror.plain)}\n\n'
        f'[[registry.mirror]]\nlocation = "{mirror.path(name)}"{insecure(mirror.is_plain)}'
        for name in mirror.registries
    )


def _podman(mirror: Mirror) -> list[SetupStep]:
    return [_containers(mirror), *_containers_login("podman", mirror), _try(f"podman pull {mirror.default}")]


def _skopeo(mirror: Mirror) -> list[SetupStep]:
    look = f"skopeo inspect --no-tags docker://{mirror.default}"
    return [_containers(mirror), *_containers_login("skopeo", mirror), _try(look)]


def _crio(mirror: Mirror) -> list[SetupStep]:
    registries, restart = _containers(mirror), "systemctl restart crio"
    # Any program of the same library writes this file.
    login = _containers_login("skopeo", mirror, f" --authfile {_CRIO_LOGINS}")
    if not login:
        return [replace(registries, then=restart)]
    config = f'[crio.image]\nglobal_auth_file = "{_CRIO_LOGINS}"'
    return [registries, *login, SetupStep("To use this login", config, "/etc/crio/crio.conf.d/20-mirror.conf", restart)]


def _containers_login(program: str, mirror: Mirror, options: str = "") -> list[SetupStep]:
    # It has read of the mirror as one of a registry's, and not as a registry that takes plain HTTP.
    options += " --tls-verify=false" if mirror.is_plain else ""
    return _login(f"{program} login{options}", mirror)


def _containers(mirror: Mirror) -> SetupStep:
    return SetupStep("For all registries", _registries_conf(mirror), "/etc/containers/registries.conf.d/mirror.conf")


def _try(command: str) -> SetupStep:
    return SetupStep("To see that it works", f"{command}/OWNER/IMAGE:TAG")


def _buildkit(mirror: Mirror) -> list[SetupStep]:
    # Its snapshotter for eStargz sends no `ns` (P84): the path has to name the registry.
    sections = [
        f'[registry."{name}"]\n  mirrors = ["{mirror.path(name)}"]'
        + ("\n  http = true" if name in mirror.plain else "")
        for name in mirror.registries
    ]
    if mirror.is_plain:
        sections.append(f'[registry."{mirror.address}"]\n  http = true')
    create = "docker buildx create --use --name mirrored --driver docker-container"
    return [
        # The builder uses the login of whoever builds.
        *_login("docker login", mirror),
        SetupStep("For a builder", "\n\n".join(sections), "/etc/buildkit/buildkitd.toml"),
        SetupStep("Make one by it", f"{create} --buildkitd-config /etc/buildkit/buildkitd.toml"),
    ]


CLIENTS: Mapping[str, Callable[[Mirror], list[SetupStep]]] = MappingProxyType(
    {
        "docker": _docker,
        "containerd": _containerd,
        "k3s": _k3s,
        "podman": _podman,
        "cri-o": _crio,
        "buildkit": _buildkit,
        "skopeo": _skopeo,
    }
)
