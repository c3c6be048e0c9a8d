"""gunicorn as ``registry-cache serve`` starts it: nothing is imported from the folder that it is started in.

gunicorn's own command puts that folder first, for applications that lie in one. Ours is installed, and whoever may
write into the folder could run code as the server's user.
"""

from __future__ import annotations

import os
import sys

from registry_cache.runtime.interrupt import end_on_interrupt

_MODULE = "registry_cache.server.launcher"
# -P: Python, too, would look there first.
COMMAND = [sys.executable, "-P", "-m", _MODULE]


def command_of_this_process() -> list[str]:
    """Return what starts this process' gunicorn once more, without its arguments.

    gunicorn would run its file by the file's name, and beside that file the standard library's http is its own.
    """
    spec = sys.modules["__main__"].__spec__
    return COMMAND if spec is not None and spec.name == _MODULE else [sys.executable, "-m", "gunicorn"]


def main() -> None:
    """Be gunicorn, until the server ends."""
    # gunicorn replaces this as soon as it handles signals.
    end_on_interrupt()
    from gunicorn.app.wsgiapp import WSGIApplication

    class Server(WSGIApplication):
        def chdir(self) -> None:
            """Called before the application is loaded."""
            os.chdir(self.cfg.chdir)

    Server("%(prog)s [OPTIONS] [APP_MODULE]", prog="registry-cache serve --").run()


if __name__ == "__main__":
    main()
