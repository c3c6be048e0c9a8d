"""The configuration of containers/image, the library of skopeo, podman and buildah."""

import json
from pathlib import Path

from tests.clients.mirror import HUB, OTHER, Mirror
from tests.harness.programs import environment


def configure(folder: Path, mirror: Mirror, *before: str) -> dict[str, str]:
    """The environment of a client that pulls docker.io, and registry.example, through the mirror.

    Addresses `before` it are mirrors of docker.io that are to be asked first.
    """
    address = mirror.cache.address
    # One registry has an unqualified mirror; the other's name stands in front of the path.
    mirrors = {HUB: address, OTHER: f"{address}/{OTHER}"}
    registries = [f'[[registry]]\nlocation = "{address}"\ninsecure = true\n']
    for name, location in mirrors.items():
        registries.append(f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"\n')
        for each in (*before, location) if name == HUB else (location,):
            registries.append(f'[[registry.mirror]]\nlocation = "{each}"\ninsecure = true\n')
    (folder / "registries.conf").write_text("\n".join(registries), encoding="utf-8")
    (folder / "containers.conf").write_text(
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n', encoding="utf-8"
    )
    policy(folder)
    return environment(
        folder / "home",
        CONTAINERS_REGISTRIES_CONF=str(folder / "registries.conf"),
        CONTAINERS_CONF=str(folder / "containers.conf"),
    )


def policy(folder: Path) -> Path:
    """Write a policy that accepts unsigned images."""
    file = folder / "policy.json"
    file.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}), encoding="utf-8")
    return file
