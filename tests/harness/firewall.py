"""Drop packets to and from ports of this machine, in a network namespace of the test's own."""

import subprocess

from tests.harness.components import require


class Firewall:
    """Nothing is told to either side: no RST, no FIN."""

    def __init__(self) -> None:
        self._program = require("iptables")

    def drop(self, *ports: int) -> None:
        for port in ports:
            for side in ("--dport", "--sport"):
                self._run("-I", "INPUT", "-p", "tcp", side, str(port), "-j", "DROP")

    def mend(self) -> None:
        self._run("-F", "INPUT")

    def _run(self, *words: str) -> None:
        subprocess.run([self._program, "-w", *words], check=True, timeout=10)
