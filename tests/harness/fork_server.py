"""A Python that has imported the program and forks where another would start: `python … SOCKET MODULES`.

`forks.py` says on the socket what to run, and with which descriptors. Importing takes most of the time of a command and
of a server's start. When the tests end, or are killed, the socket closes: whatever still runs is killed.
"""

import concurrent.futures.thread
import contextlib
import fcntl
import gc
import importlib
import importlib.abc
import importlib.util
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Iterable, Iterator
from typing import Any

MOST_DESCRIPTORS = 64
# Where received descriptors wait while the numbers that they are to have become free.
FIRST_FREE = 500
# Not a fork of it.
SERVER = os.getpid()

Task = dict[str, Any]


class Later(importlib.abc.MetaPathFinder):
    """Refuses some modules, and so whatever imports them. Those that failed are refused at once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._names or name.partition(".")[0] in self._names:
            raise ImportError(name)

    def import_others(self, names: Iterable[str]) -> None:
        sys.meta_path.insert(0, self)
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError:
                self._names.add(name)
        sys.meta_path.remove(self)


class Lazy(types.ModuleType):
    """A module that a fork executes when it first wants something of it. Who imported it before has only its name."""

    @staticmethod
    def insert(name: str) -> None:
        """Make it what the next import finds."""
        spec = importlib.util.find_spec(name)
        assert spec is not None
        sys.modules[name] = module = Lazy(name)
        module.__spec__, module.__file__ = spec, spec.origin
        package, _, child = name.rpartition(".")
        setattr(sys.modules[package], child, module)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if os.getpid() == SERVER:
            # A function, such as the default of a parameter: a fork has its own.
            return lambda *given: getattr(self, name)(*given)
        self.__class__ = types.ModuleType  # type: ignore[assignment]
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


@contextlib.contextmanager
def patched() -> Iterator[None]:
    """Have gevent replace what it replaces in a worker, and take that back: what is imported meanwhile keeps it.

    A worker is forked from a master in which nothing is replaced, and has gevent do it again.
    """
    # Not at the top: commands are forked without it.
    import gevent.monkey

    main = threading.main_thread()
    before = vars(main).copy()
    handlers = [(handler, handler.lock) for each in logging._handlerList if (handler := each())]  # type: ignore[attr-defined]
    locks = [(threading, "_active_limbo_lock"), (concurrent.futures.thread, "_global_shutdown_lock")]
    originals = [(module, name, getattr(module, name)) for module, name in locks]
    # What gevent has done at each fork is for forks of a worker; and nothing takes such a wish back.
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    gevent.monkey.patch_all()
    os.register_at_fork = register
    try:
        yield
    finally:
        # urllib3 tries a socket: its loop would be one for all forks.
        gevent.get_hub().destroy(destroy_loop=True)
        for module, values in gevent.monkey.saved.items():
            if module in sys.modules:
                originals += [(sys.modules[module], name, value) for name, value in values.items()]
        for module, name, value in originals:
            setattr(module, name, value)
        gevent.monkey.saved.clear()
        for handler, lock in handlers:
            handler.lock = lock
        threading._active[before["_ident"]] = threading._active.pop(main.ident)  # type: ignore[attr-defined]
        vars(main).clear()
        vars(main).update(before)
        threading._dangling.add(main)  # type: ignore[attr-defined]


class _Children:
    """What was forked: by its process id, where to write its exit status; -1 when that is done."""

    def __init__(self) -> None:
        self._tells: dict[int, int] = {}

    def add(self, pid: int, tell: int) -> None:
        self._tells[pid] = tell

    def tell_ends(self) -> None:
        """Write the status of each that has ended, once. It stays a zombie, so that its number is nobody else's."""
        for pid, tell in list(self._tells.items()):
            ended = tell >= 0 and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended:
                status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with contextlib.suppress(BrokenPipeError):
                    os.write(tell, str(status).encode())
                os.close(tell)
                self._tells[pid] = -1

    def bury(self, pid: int) -> None:
        del self._tells[pid]
        os.waitpid(pid, 0)

    def kill(self) -> None:
        """SIGKILL every process group that is left. Each leads one."""
        for pid in self._tells:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def serve(control: socket.socket) -> Task | None:
    """Fork until the socket closes: None. In a fork, return its task."""
    wake, woken = socket.socketpair()
    wake.setblocking(False)
    woken.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    children = _Children()
    while True:
        readable, _, _ = select.select([control, wake], [], [])
        if wake in readable:
            wake.recv(4096)
            children.tell_ends()
        if control in readable:
            message, descriptors, _, _ = socket.recv_fds(control, 1 << 20, MOST_DESCRIPTORS)
            if not message:
                children.kill()
                return None
            request = json.loads(message)
            if "bury" in request:
                children.bury(request["bury"])
                continue
            ready, begun = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.setsid()
                os.write(begun, b"1")
                # Their numbers are soon others'.
                for each in (control, wake, woken):
                    each.detach()
                _become(request["task"], descriptors)
                return dict(request["task"])
            # Who is told of it may kill its group at once.
            os.read(ready, 1)
            children.add(pid, descriptors[0])
            for descriptor in (ready, begun, *descriptors[1:]):
                os.close(descriptor)
            control.send(str(pid).encode())


def _become(task: Task, descriptors: list[int]) -> None:
    """Have what a new process would have: its descriptors, environment, folder, and no handlers."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    waiting = [_moved(descriptor) for descriptor in descriptors[1:]]
    # Not 0 to 2, which are replaced: sys.stdin and the others keep their numbers.
    os.closerange(3, FIRST_FREE)
    for descriptor, number in zip(waiting, task["numbers"], strict=True):
        os.dup2(descriptor, number, inheritable=True)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(task["environment"])
    time.tzset()
    os.chdir(task["folder"])
    sys.argv = task["command"]


def _moved(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)


def run(task: Task) -> None:
    """Be the program, as `python -m NAME` and `python PATH` are, until this process ends."""
    program = task["command"][0]
    if "/" in program:
        sys.path.insert(0, os.path.dirname(program))
        runpy.run_path(program, run_name="__main__")
    else:
        sys.path.insert(0, task["folder"])
        runpy.run_module(program, run_name="__main__", alter_sys=True)


def import_all(modules: list[str], others: list[str], later: list[str], lazy: list[str], last: list[str]) -> None:
    """What there is before a fork: ``modules``; ``others`` but for ``later`` ones; and ``last``.

    Each fork executes those that are ``lazy`` itself. A gunicorn worker imports the ``last`` once gevent has replaced
    parts of the standard library, and so they are imported here where there are ``later`` ones.
    """
    for name in modules:
        importlib.import_module(name)
    Later(later).import_others(others)
    for name in lazy:
        Lazy.insert(name)
    with patched() if later else contextlib.nullcontext():
        for name in last:
            importlib.import_module(name)


def main(control: int, *names: list[str]) -> None:
    import_all(*names)
    # No collection in a fork writes to these pages, which all forks share.
    gc.collect()
    gc.freeze()
    task = serve(socket.socket(fileno=control))
    if task is not None:
        run(task)


if __name__ == "__main__":
    main(int(sys.argv[1]), *json.loads(sys.argv[2]))
