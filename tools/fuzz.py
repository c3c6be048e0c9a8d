"""Run the property tests of what upstreams and clients say with new examples, again and again for some seconds.

    python tools/fuzz.py [SECONDS]

What fails is printed by hypothesis as an example, and by us as the seed with which it fails again.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Heads, challenges, redirects and other URLs, manifests, token answers, Link; whole answers; a client's head.
TESTS = (
    *("property/test_heads.py", "property/test_challenges.py", "property/test_urls.py", "property/test_manifests.py"),
    *("property/test_upstream_answers.py", "server/test_request_head.py"),
)
# A round that has begun is let end: it takes some seconds, and a minute on a busy machine.
LONGEST_ROUND_SECONDS = 300


def main(seconds: float) -> int:
    """Return the exit status: 1 where an example failed."""
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end or not rounds:
        seed, rounds = secrets.randbelow(2**32), rounds + 1
        tests = [str(ROOT / "tests" / name) for name in TESTS]
        options = ["-q", "--no-header", "--hypothesis-profile", "searching", f"--hypothesis-seed={seed}"]
        command = [sys.executable, "-m", "pytest", *options, *tests]
        done = subprocess.run(  # noqa: S603 (our own)
            command, cwd=ROOT, timeout=LONGEST_ROUND_SECONDS, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stdout, done.stderr, f"to see it again: pytest {' '.join([*options, *TESTS])}", sep="\n")
            return 1
    print(f"{rounds} rounds of {len(TESTS)} files of properties found nothing")
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
