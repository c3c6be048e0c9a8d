"""What blocks in the kernel has threads of its own."""

from __future__ import annotations

import sys

from tests.harness.programs import run

LOOK_UPS = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, os, threading
from registry_cache.runtime import threadpool
answers, silence = os.pipe()
pool = gevent.get_hub().threadpool
for _ in range(pool.maxsize):
    pool.spawn(os.read, answers, 1)
elsewhere = threadpool.run(gevent.monkey.get_original("threading", "get_ident")) != threading.get_ident()
print(elsewhere, pool.task_queue.unfinished_tasks == pool.maxsize)
os.close(silence)
pool.join()
"""

TURNS = """
import gevent.monkey; gevent.monkey.patch_all()
import os
from registry_cache.runtime import threadpool
print(threadpool.run(os.sched_getscheduler, 0) == os.SCHED_BATCH, os.sched_getscheduler(0) == os.SCHED_OTHER)
"""


def test_a_silent_name_server_holds_up_no_commit() -> None:
    """gevent looks up names in its own pool; as many look-ups as that has threads must not hold up an fsync."""
    done = run([sys.executable, "-c", LOOK_UPS])
    assert done.stdout.split() == ["True", "True"], done.stderr


def test_a_thread_that_hashes_takes_no_core_from_the_one_that_sends() -> None:
    done = run([sys.executable, "-c", TURNS])
    assert done.stdout.split() == ["True", "True"], done.stderr
