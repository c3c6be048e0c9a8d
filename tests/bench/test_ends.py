"""What a benchmark started has ended before its folder is removed."""

import json
import subprocess
import sys
from pathlib import Path

from bench.figures import serve
from bench.scale import ways

SLEEP = "import time; time.sleep(600)"


def a_pass_over(root: Path) -> subprocess.Popen[bytes]:
    """What looks like the server's own pass, and takes long."""
    command = [sys.executable, "-c", SLEEP, "registry_cache.upkeep.cleanup_process", json.dumps({"root": str(root)})]
    return subprocess.Popen(command, start_new_session=True)


def test_a_pass_does_not_outlive_the_server_that_began_it(tmp_path: Path) -> None:
    with serve(str(tmp_path)) as (_, cache, _), a_pass_over(tmp_path / "another") as another:
        own = a_pass_over(cache.root)
        cache.close()
        assert own.wait(60) == -9
        assert another.poll() is None
        another.kill()
    assert list(tmp_path.iterdir()) == []


def test_cleanups_are_measured_with_the_priority_of_the_shipped_unit() -> None:
    assert [way.command[:5] for way in ways()][1] == ("ionice", "-c", "3", "nice", "-n")
