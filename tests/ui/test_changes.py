"""What changed and needs a look."""

from __future__ import annotations

from registry_cache.runtime.event_queue import Change
from registry_cache.ui.changes import change_rows

OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def test_the_worst_comes_first_and_each_once() -> None:
    changes = [
        Change(50, "moved", "docker.io", "library/nginx", "1.27", OLD, NEW),
        Change(40, "stale", "ghcr.io", "acme/api", "main"),
        Change(30, "stale", "ghcr.io", "acme/api", "main"),
        Change(20, "corrupt", "ghcr.io", "acme/api", OLD),
        Change(10, "something of the next version", "ghcr.io", "acme/api", "main"),
    ]
    corrupt, stale, moved = change_rows(changes)

    assert (corrupt.tone, corrupt.image) == ("bad", f"ghcr.io/acme/api@{OLD}")
    assert (stale.times, stale.at, stale.command) == (2, 40, "registry-cache check ghcr.io/acme/api:main")
    assert (moved.old, moved.new) == ("sha256:aaaaaaaaaaaa", "sha256:bbbbbbbbbbbb")
    assert (moved.page, moved.command) == (
        "docker.io/library/nginx",
        "registry-cache pulls docker.io/library/nginx:1.27",
    )


def test_a_command_that_is_copied_runs_nothing_else() -> None:
    [row] = change_rows([Change(1, "refused", "ghcr.io", "a; rm -rf /", "$(reboot)`x`'")])
    assert row.command == """registry-cache check 'ghcr.io/a; rm -rf /:$(reboot)`x`'"'"''"""
