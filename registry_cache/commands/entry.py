"""The console script's entry: Ctrl-C while the commands are imported is not a traceback, nor is a closed stream."""

from registry_cache.commands.standard_streams import open_closed_streams
from registry_cache.runtime.interrupt import end_on_interrupt, raise_on_interrupt


def main() -> int:
    """Run the command line and return its exit status."""
    end_on_interrupt()
    open_closed_streams()
    from registry_cache.cli import INTERRUPTED  # takes a quarter of a second
    from registry_cache.cli import main as run

    try:
        raise_on_interrupt()
        return run()
    except KeyboardInterrupt:
        return INTERRUPTED
