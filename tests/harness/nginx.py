"""A real nginx with the configuration that `registry-cache nginx` prints; all its files are in one folder."""

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.harness.components import require

STOP_SECONDS = 30.0  # from SIGTERM to the exit
BACKLOG = 1024
# What a distribution's nginx.conf has around the file in conf.d, with the test's folders. Workers must not switch to
# another user, who could not read those.
AROUND = """\
daemon off;
pid {folder}/pid;
error_log {folder}/error.log notice;
worker_processes 2;
{user}
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    access_log off;
    gzip on;
    include {folder}/conf.d/*.conf;
}}
"""


class Nginx:
    """Runs what `configure` returns for its address. Requests may be sent at once: the kernel queues them."""

    def __init__(self, folder: Path, configure: Callable[[str], str]) -> None:
        (folder / "conf.d").mkdir(parents=True)
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        # Otherwise a worker blocks in accept(2), with all its connections, when another was quicker.
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.address}"
        (folder / "conf.d" / "registry-cache.conf").write_text(configure(self.address), encoding="utf-8")
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user), encoding="utf-8")
        self._command = [require("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        self._command += ["-e", str(folder / "error.log")]
        self.start()

    def start(self) -> None:
        """Start it; an invalid configuration fails here."""
        checked = subprocess.run([*self._command, "-t"], capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stderr
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                # As when nginx upgrades itself: it inherits these sockets instead of opening them.
                env={"PATH": os.environ["PATH"], "NGINX": f"{self._listener.fileno()};"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[self._listener.fileno()],
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop it, and fail if it has logged a defect."""
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"nginx still ran {STOP_SECONDS} s after TERM: {self.log_text()}") from None
        finally:
            self._listener.close()
        assert status == 0, self.log_text()
        told = [line for line in self.log_text().splitlines() if any(word in line for word in WORSE)]
        assert told == []

    def log_text(self) -> str:
        """Its error log."""
        return (self._folder / "error.log").read_text(encoding="utf-8", errors="replace")


# What must never stand in its error log.
WORSE = ("[emerg]", "exited on signal")
