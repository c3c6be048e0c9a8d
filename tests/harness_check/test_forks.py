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

# Imports what there is before a fork.
IMPORTS = """
import sys
from tests.harness import fork_server, forks
fork_server.import_all(forks.MASTER, [], [], [], [])
of_master = set(sys.modules)
fork_server.import_all([], forks.others(), forks.LATER, [], [])
names = {name: dict(vars(module)) for name, module in sys.modules.items()}
import _thread, logging, threading, types, gevent.monkey
from gevent import _hub_local
locks = (_thread.LockType, type(threading.RLock()), threading.local, threading.Event, threading.Condition)
main = dict(vars(threading.main_thread()))
lock = logging._handlerList[0]().lock
fork_server.import_all([], [], forks.LATER, forks.LAZY, forks.IN_WORKER)
"""
# Prints what is not as it was, but for a warning that Python counts and what only gevent uses.
NOT_AS_BEFORE = """
for name, before in names.items():
    after = vars(sys.modules[name])
    for key in set(before) | set(after) if name != "__main__" and not name.startswith("gevent") else ():
        value = after.get(key)
        is_child = sys.modules.get(f"{name}.{key}") is value
        if value is not before.get(key) and key != "__warningregistry__" and not is_child:
            print(name, key, before.get(key), value)
if main != vars(threading.main_thread()) or lock is not logging._handlerList[0]().lock:
    print("a thread or lock")
if gevent.monkey.saved or _hub_local.get_hub_if_exists():
    print("gevent goes on")
"""
# The same in a worker that imports it itself, but for what the master has.
IMPORTS_ITSELF = """
import _thread, sys, threading, types, gevent.monkey
from tests.harness import fork_server, forks
locks = (_thread.LockType, type(threading.RLock()), threading.local, threading.Event, threading.Condition)
fork_server.import_all(forks.MASTER, [], [], [], [])
of_master = set(sys.modules)
gevent.monkey.patch_all()
fork_server.import_all([], [*forks.others(), *forks.IN_WORKER], [], [], [])
"""
# Prints what keeps parts of before gevent replaced them.
KEPT_FROM_BEFORE = """
gevent.monkey.patch_all()
originals = [value for names in gevent.monkey.saved.values() for value in names.values() if callable(value)]

def replaced(value):
    return isinstance(value, locks) or any(value is original for original in originals)

def inside(value):
    if type(value).__name__ == "LocalProxy":
        return
    yield value
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, types.FunctionType):
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
    elif isinstance(value, type):
        yield from value.__mro__
        for each in vars(value).values():
            yield from () if isinstance(each, type) else inside(each)
    elif hasattr(value, "__dict__") and not isinstance(value, types.ModuleType):
        yield from vars(value).values()

ours = ("registry_cache", "requests", "urllib3", "flask", "werkzeug", "jinja2", "redis", "bcrypt")
for name in sorted(set(sys.modules) - of_master):
    if name.split(".")[0] in ours:
        for key, value in vars(sys.modules[name]).items():
            if any(replaced(each) for each in inside(value)):
                print(name, key)
"""
# Prints how two forks call themselves.
NAMES = """
import os
from registry_cache.runtime import request_context
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        print(request_context.VIA, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""


def test_what_is_imported_before_a_server_is_forked_makes_no_difference() -> None:
    forked, alone = (
        succeed([sys.executable, "-c", imports + KEPT_FROM_BEFORE], cwd=REPOSITORY).splitlines()
        for imports in (IMPORTS, IMPORTS_ITSELF)
    )

    # Some keep what the master has made.
    assert "registry_cache.store.partial_downloads disk_error_log" in alone
    assert set(forked) <= set(alone)


def test_a_master_is_forked_as_if_gevent_had_replaced_nothing() -> None:
    assert succeed([sys.executable, "-c", IMPORTS + NOT_AS_BEFORE], cwd=REPOSITORY) == ""


def test_each_fork_has_its_own_of_what_servers_choose() -> None:
    assert len(set(succeed([sys.executable, "-c", IMPORTS + NAMES], cwd=REPOSITORY).split("\n"))) == 3


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
