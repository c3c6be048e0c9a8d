"""The application with two views that nobody should have: one works, and one waits, without a turn for others."""

from __future__ import annotations

import time

import flask
import gevent.monkey

from tests.harness.watched import app

_really_sleep = gevent.monkey.get_original("time", "sleep")


@app.get("/works")
def works() -> str:
    end = time.thread_time() + _seconds()
    while time.thread_time() < end:
        pass
    return "done"


@app.get("/waits")
def waits() -> str:
    # The loop's thread has no core meanwhile, as on a machine with too much work.
    _really_sleep(_seconds())
    return "done"


def _seconds() -> float:
    return float(flask.request.args["seconds"])
