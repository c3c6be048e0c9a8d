"""The product's Flask application in this process, without gunicorn."""

from __future__ import annotations

from pathlib import Path

import bcrypt
import yaml
from flask import Flask

from registry_cache.app import create_app
from registry_cache.config import load_config

ROOT = "the-folder-of-the-store"
PASSWORD = "hunter2-the-upstreams"
HTPASSWD = "the-file-of-users"
DIGEST = "sha256:" + "ab" * 32
# The spec's ("Error Codes"), and those of ours that it has none for.
STATUSES = {200, 304, 400, 401, 404, 405, 416, 429, 502, 503, 504}


def make_application(folder: Path, port: int, *, guarded: bool = False) -> Flask:
    """An application whose upstream is a port that nobody listens on."""
    proxy = {"remoteurl": f"http://127.0.0.1:{port}", "username": "me", "password": PASSWORD}
    document: dict[str, object] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / ROOT)}},
        "proxy": proxy,
        "upstreams": {"ghcr.io": {**proxy, "aliases": ["other.example"]}},
    }
    if guarded:
        users = folder / HTPASSWD
        users.write_bytes(b"alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
        document["auth"] = {"htpasswd": {"realm": "r", "path": str(users)}}
    (folder / "config.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return create_app(load_config({"HOME": str(folder), "REGISTRY_CACHE_CONFIG": str(folder / "config.yml")}))
