"""The checkout, and what an operator copies from its deploy/."""

import re
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
DEPLOY = REPOSITORY / "deploy"
DOCKER = DEPLOY / "docker"
CRON_FILE = DEPLOY / "cron" / "registry-cache"
CRON = CRON_FILE.read_text(encoding="utf-8")
UNITS = sorted((DEPLOY / "systemd").iterdir())
CONFIGS = [DEPLOY / "config" / "registry-cache.yml", DOCKER / "config.yml"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
# Instructions, continued lines joined: a word and the rest.
DOCKERFILE = re.findall(
    r"^([A-Z]+) (.+)$", (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " "), re.MULTILINE
)
