"""Ctrl-C while a program's modules are still being imported."""

import signal
import sys

import pytest

from tests.harness.programs import run

# Presses Ctrl-C when the module named as the first argument is about to be imported.
PRESS = """
import os, signal, sys
class Press:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press)
"""


@pytest.mark.parametrize(
    ("main", "imported"),
    [
        ("registry_cache.commands.entry", "registry_cache.cli"),
        ("registry_cache.server.launcher", "gunicorn.app.wsgiapp"),
    ],
)
def test_control_c_before_all_is_imported_is_no_traceback(main: str, imported: str) -> None:
    done = run([sys.executable, "-c", f"{PRESS}\nfrom {main} import main\nmain()", imported])
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("ignored", [False, True])
def test_the_signal_is_as_before_once_all_is_imported(ignored: bool) -> None:
    program = (
        "import signal; from registry_cache.runtime.interrupt import end_on_interrupt, raise_on_interrupt\n"
        f"{'signal.signal(signal.SIGINT, signal.SIG_IGN)' if ignored else ''}\n"
        "before = signal.getsignal(signal.SIGINT); end_on_interrupt(); raise_on_interrupt()\n"
        "print(signal.getsignal(signal.SIGINT) is before)"
    )
    assert run([sys.executable, "-c", program]).stdout == "True\n"


# Presses Ctrl-C when the parser of the command line is made: all is imported, and no command runs yet.
PRESS_LATER = """
import argparse, os, signal, sys
from registry_cache.commands.entry import main
make = argparse.ArgumentParser.__init__
def press(self, *arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)
    make(self, *arguments, **options)
argparse.ArgumentParser.__init__ = press
sys.exit(main())
"""


def test_control_c_before_the_command_begins_is_no_traceback() -> None:
    done = run([sys.executable, "-c", PRESS_LATER])
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_control_c_while_one_program_becomes_another_is_no_traceback() -> None:
    """Python itself, and what a module imports first, would print one: ours begins to run much later."""
    program = (
        "import os, signal; from registry_cache.runtime.interrupt import hold_interrupts\n"
        "from registry_cache.server.launcher import COMMAND\n"
        "with hold_interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.execv(COMMAND[0], [*COMMAND, '--version'])"
    )
    done = run([sys.executable, "-c", program])
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
