"""The documents: links lead somewhere, examples load, verbs exist, words are plain, and the map is the tree."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from registry_cache.cli import COMMANDS
from registry_cache.config import load_config
from tests.harness.documents import FENCE, LINK, PAGES, ROOT, TOPS, anchors, folders, name, prose
from tests.harness.tls import make_certificate

# Variables may stand before a command, and the configuration's name before a verb.
VERBS = {
    "registry-cache": re.compile(r"(?:\w+=\S+ )*registry-cache (?:--config \S+ )?([a-z]+)"),
    "make": re.compile(r"(?:\w+=\S+ )*make ([a-z-]+)"),
}
# A YAML example with one of these at its top is a configuration of ours; k3s' and others' files have none.
OURS = {"version", "log", "storage", "http", "auth", "proxy", "upstreams", "server", "statistics"}
# Nothing is finished by saying so, and nothing gets better by being praised.
UNWANTED = ["todo", "fixme", "tbd", "blazing", "lightning", "seamless", "effortless", "world-class", "best-in-class"]
UNWANTED += ["cutting-edge", "state-of-the-art", "enterprise-grade", "battle-tested", "revolutionary", "unparalleled"]
UNWANTED += ["game-chang", "supercharge", "next-generation", "ultimate", "powerful"]


def examples(language: str) -> dict[str, str]:
    """Fenced blocks of one language, by page and place."""
    return {
        f"{name(page)}-{number}": text
        for page in PAGES
        for number, (found, text) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
        if found == language
    }


YAML, TOML, JSON = examples("yaml"), examples("toml"), examples("json")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}"


@pytest.mark.parametrize("where", YAML)
def test_yaml(where: str, tmp_path: Path) -> None:
    text = YAML[where]
    document = yaml.safe_load(text)
    if not (isinstance(document, dict) and OURS & set(document)):
        return
    environ = dict.fromkeys(re.findall(r"password_env: (\S+)", text), "secret")
    for path in re.findall(r"password_file: (\S+)", text):
        secret = tmp_path / Path(path).name
        secret.write_text("secret\n", encoding="utf-8")
        text = text.replace(path, str(secret))
    text = with_files(text, tmp_path)
    (tmp_path / "config.yml").write_text(text, encoding="utf-8")
    environ |= {
        "REGISTRY_CACHE_CONFIG": str(tmp_path / "config.yml"),
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path / "store"),
    }
    load_config(environ)


def with_files(text: str, folder: Path) -> str:
    """An example whose certificates and users are there."""
    _, certificate = make_certificate(folder)
    users = folder / "htpasswd"
    users.write_text(f"alice:$2y$10${'.' * 53}\n", encoding="utf-8")
    made = {
        "certificate": certificate,
        "clientcas": certificate,
        "ca": certificate,
        "key": folder / "key.pem",
        "path": users,
    }
    for key, path in made.items():
        text = re.sub(rf"^( +{key}:) /etc/\S+", rf"\1 {path}", text, flags=re.MULTILINE)
    return text


@pytest.mark.parametrize("where", TOML)
def test_toml(where: str) -> None:
    assert tomllib.loads(TOML[where])


@pytest.mark.parametrize("where", JSON)
def test_json(where: str) -> None:
    assert json.loads(JSON[where])


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_verbs_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", FENCE.sub("", text))]
    for language, block in FENCE.findall(text):
        typed += [line.removeprefix("$ ") for line in block.splitlines() if language == "sh" or line.startswith("$ ")]
    verbs = {tool: {found[1] for line in typed if (found := pattern.match(line))} for tool, pattern in VERBS.items()}

    assert verbs["registry-cache"] <= {command.name for command in COMMANDS}
    assert verbs["make"] <= set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_words_are_plain(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()

    assert [word for word in UNWANTED if re.search(rf"\b{word}", text)] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    listed = LINK.findall((folder / "README.md").read_text(encoding="utf-8"))

    assert listed == sorted(page.name for page in folder.glob("0*.md"))


@pytest.mark.parametrize(("page", "lines"), [("README.md", 140), ("CONTRIBUTING.md", 79)])
def test_a_page_fits_a_sitting(page: str, lines: int) -> None:
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= lines


def test_the_map_of_contributing_is_the_tree() -> None:
    [(_, drawn)] = FENCE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    there = {folder for top in TOPS for folder in folders(top)}
    # The map says once that a package has a folder of its name among the tests.
    mirrored = {folder.replace("registry_cache/", "tests/", 1) for folder in folders("registry_cache")}

    assert mapped(drawn) | (mirrored & there) == there


def mapped(drawn: str) -> set[str]:
    """Return the folders that a map draws: each indented below the one that holds it, ``{a,b}`` for several in one."""
    found: set[str] = set()
    above: list[tuple[int, str]] = []
    for indent, path, several in re.findall(r"^( *)([\w./-]+?)/(?:\{([\w,]+)\}/)?(?:  .*)?$", drawn, re.MULTILINE):
        above = [(depth, folder) for depth, folder in above if depth < len(indent)]
        whole = "/".join([*(folder for _, folder in above), path])
        above.append((len(indent), path))
        found |= {str(parent) for parent in [Path(whole), *Path(whole).parents]} - {"."}
        found |= {f"{whole}/{each}" for each in several.split(",") if several}
    return found
