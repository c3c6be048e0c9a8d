"""What is installed is what was tested: packages, data files, requirements, and one application by every way in."""

import ast
import configparser
import importlib.metadata
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import registry_cache
from registry_cache.commands import entry, serve
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import succeed
from tools.constraints import closure, normal

PACKAGE = REPOSITORY / "registry_cache"
SETUP = configparser.ConfigParser()
SETUP.read(REPOSITORY / "setup.cfg", encoding="utf-8")


def test_every_folder_with_modules_is_a_package_that_find_finds() -> None:
    folders = {module.parent for module in PACKAGE.rglob("*.py")}
    found = SETUP["options.packages.find"]["include"].split()
    for folder in folders:
        name = ".".join(folder.relative_to(REPOSITORY).parts)
        assert (folder / "__init__.py").exists(), f"{name} would be left out of the wheel"
        assert any(fnmatch(name, pattern) for pattern in found)


def test_every_data_file_is_in_the_wheel() -> None:
    declared = {package: patterns.split() for package, patterns in SETUP["options.package_data"].items()}
    data = [
        file
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.suffix != ".py" and "__pycache__" not in file.parts
    ]
    assert PACKAGE / "py.typed" in data
    for file in data:
        folder = next(folder for folder in file.parents if (folder / "__init__.py").exists())
        package = ".".join(folder.relative_to(REPOSITORY).parts)
        name = str(file.relative_to(folder))
        assert any(fnmatch(name, pattern) for pattern in declared.get(package, [])), f"{file} would be left out"


def test_everything_in_deploy_and_the_documents_are_in_the_wheel() -> None:
    folders = {str(file.parent.relative_to(REPOSITORY)) for file in REPOSITORY.glob("deploy/**/*") if file.is_file()}
    declared = {to: pattern.strip() for to, pattern in SETUP["options.data_files"].items()}
    assert declared.pop("share/man/man1") == "man/*.1"
    assert declared.pop("share/registry-cache/docs") == "docs/*.md"
    assert declared == {f"share/registry-cache/{folder}": f"{folder}/*" for folder in folders}


def test_the_constraints_are_the_versions_that_are_tested() -> None:
    lines = succeed([sys.executable, "tools/constraints.py", "registry-cache"], {}, cwd=REPOSITORY).splitlines()
    tested = {line.partition("==")[0]: line.partition("==")[2] for line in lines}
    assert tested == {name: importlib.metadata.version(name) for name in closure("registry-cache") - {"registry-cache"}}
    assert {"flask", "gunicorn", "gevent", "urllib3", "werkzeug"} < tested.keys()


def test_the_version_is_the_same_everywhere() -> None:
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert newest[1] == registry_cache.__version__ == importlib.metadata.version("registry-cache")


def test_every_import_is_a_requirement_with_a_lower_bound() -> None:
    imported = {name for module in PACKAGE.rglob("*.py") for name in _imports(module)}
    providers = importlib.metadata.packages_distributions()
    needed = {normal(providers[name][0]) for name in imported - set(sys.stdlib_module_names) - {"registry_cache"}}
    bounded = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])? >= [0-9.]+(?:, < [0-9.]+)?$", re.MULTILINE)
    required = bounded.findall(SETUP["options"]["install_requires"].strip())
    extra = bounded.findall(SETUP["options.extras_require"]["cluster"].strip())
    # boto3 brings botocore, and both are of one release.
    assert (needed | {"boto3"}) - {"botocore"} == {normal(name) for name in [*required, *extra]}


def test_the_extra_has_the_same_bounds_in_the_tests() -> None:
    extras = SETUP["options.extras_require"]
    assert set(extras["cluster"].strip().splitlines()) - {"# What"} <= set(extras["test"].strip().splitlines())


def test_nothing_that_a_server_imports_came_with_the_tests_tools(tmp_path: Path) -> None:
    """gunicorn's gevent worker needs `packaging`, which pytest brings and gunicorn only with its extra."""
    modules = "registry_cache.server.settings, registry_cache.server.worker, registry_cache.app"
    program = f"import sys; before = set(sys.modules); import {modules}; print(*set(sys.modules) - before)"
    settings = {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path)}
    imported = succeed([sys.executable, "-c", program], settings, cwd=REPOSITORY)
    providers = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in imported.split()}
    needed = {normal(providers[name][0]) for name in tops & providers.keys()}
    assert {"gunicorn", "flask"} < needed <= closure("registry-cache")


def _imports(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names.add(node.module.partition(".")[0])
    return names


def test_the_console_script_is_the_cli_with_a_quiet_end_while_it_is_imported() -> None:
    scripts = importlib.metadata.distribution("registry-cache").entry_points.select(group="console_scripts")
    assert {script.name: script.load() for script in scripts} == {"registry-cache": entry.main}


def test_a_checkout_and_the_console_script_are_the_same_server(tmp_path: Path) -> None:
    checkout = _gunicorn("gunicorn.conf.py", "wsgi:app", tmp_path)
    installed = _gunicorn(serve.SETTINGS, serve.APPLICATION, tmp_path)
    assert "registry_cache.server.worker" in checkout
    assert checkout == installed


def _gunicorn(settings: str, application: str, root: Path) -> str:
    """gunicorn's settings in force, after it has loaded the application; less their two names."""
    command = [sys.executable, "-m", "gunicorn", "--print-config", "-c", settings, application]
    lines = succeed(command, {"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(root)}, cwd=REPOSITORY).splitlines()
    return "\n".join(line for line in lines if not re.match(r"(config|default_proc_name) ", line))
