"""The console script's entry: Ctrl-C while the commands are imported is not a traceback."""

from registry_cache.runtime.interrupt import end_on_interrupt, raise_on_interrupt


def main() -> int:
    """Run the command line and return its exit status."""
    end_on_interrupt()
    from registry_cache.cli import main as run  # takes a quarter of a second

    raise_on_interrupt()
    return run()
