"""Which of the connections that wait to send is ended."""

from __future__ import annotations

from unittest import mock

import gevent

from registry_cache.server.send_timeout import LOOKS, SEND_TIMEOUT_SECONDS, SendTimeouts
from tests.harness.loop import Loop


def test_a_connection_that_was_closed_keeps_no_other_from_being_looked_at() -> None:
    loop = Loop()
    timeouts = SendTimeouts(loop.pause)
    closed = mock.Mock(**{"unread.side_effect": OSError})
    silent = mock.Mock(send_timeout=SEND_TIMEOUT_SECONDS, **{"unread.return_value": 1000})
    timeouts.begin(closed)
    timeouts.begin(silent)
    gevent.idle()

    for _ in range(LOOKS + 1):
        silent.end.assert_not_called()
        loop.look.set()
        gevent.idle()

    silent.end.assert_called_once_with(1000)
    closed.end.assert_not_called()
