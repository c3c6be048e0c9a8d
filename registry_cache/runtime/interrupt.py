"""Let Ctrl-C end a program without a traceback while its modules are still being imported."""

import signal


def end_on_interrupt() -> None:
    """Let Ctrl-C end this process at once, unless whoever started it wants the signal ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
