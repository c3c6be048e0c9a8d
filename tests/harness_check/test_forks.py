"""What is forked is as what is started, and ends with whoever asked for it."""

import contextlib
import os
import signal
import sys
from pathlib import Path

from registry_cache import __version__
from tests.harness import forks
from tests.harness.checkout import REPOSITORY
from tests.harness.programs import PROGRAM, run, succeed
from tests.harness.server import await_death, clean_environment

# Prints what a worker would have in another form if it imported it itself, after gevent has replaced what it replaces.
KEPT_FROM_BEFORE = """
import importlib, sys, types
from tests.harness import fork_server, forks
for name in forks.MASTER:
    importlib.import_module(name)
of_master = set(sys.modules)
fork_server.Later(forks.LATER).import_others(forks.others())
import _thread, threading, gevent.monkey
locks = (_thread.LockType, type(threading.RLock()), threading.local, threading.Event, threading.Condition)
gevent.monkey.patch_all()
originals = [value for names in gevent.monkey.saved.values() for value in names.values() if callable(value)]

def replaced(value):
    return isinstance(value, locks) or any(value is original for original in originals)

def inside(value):
    yield value
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, types.FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
    elif isinstance(value, type):
        yield from value.__mro__
        for each in vars(value).values():
            yield from inside(each)
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        yield from vars(value).values()

for name in sorted(set(sys.modules) - of_master):
    if name.startswith("registry_cache."):
        for key, value in vars(sys.modules[name]).items():
            if any(replaced(each) for each in inside(value)):
                print(name, key)
    elif name.split(".")[0] in ("requests", "urllib3", "flask", "werkzeug", "jinja2", "redis"):
        print(name)
"""


def test_what_is_imported_before_a_server_is_forked_makes_no_difference() -> None:
    assert succeed([sys.executable, "-c", KEPT_FROM_BEFORE], cwd=REPOSITORY) == ""


def test_a_forked_command_has_its_own_descriptors_environment_and_exit_status(tmp_path: Path) -> None:
    def told(*arguments: str, **environment: str) -> tuple[int, str, str]:
        done = forks.run_command([PROGRAM, *arguments], clean_environment(HOME=str(tmp_path), **environment), 60)
        return done.returncode, done.stdout, done.stderr

    assert told("--version") == (0, f"registry-cache {__version__}\n", "")
    assert told("config", REGISTRY_CACHE_CONFIG="/none/here")[0] == 2
    status, _, said = told("no-such-command")
    assert (status, "no-such-command" in said) == (2, True)


# Whoever starts a server and is killed; the server's log says its number.
KILLED = """
import os, pathlib, signal, sys
from tests.harness.server import CacheServer
cache = CacheServer(pathlib.Path(sys.argv[1]), "http://127.0.0.1:9", workers=1)
print(*cache.workers(), *cache.processes(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_servers_end_when_the_tests_are_killed(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=REPOSITORY)

    assert done.returncode == -signal.SIGKILL
    assert done.stdout, done.stderr
    for pid in map(int, done.stdout.split()):
        with contextlib.suppress(ProcessLookupError):
            await_death(os.pidfd_open(pid))
