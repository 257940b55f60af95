"""Where the program begins: nothing is imported before Ctrl-C is quiet."""

from __future__ import annotations

import signal
from typing import NoReturn


def start() -> NoReturn:
    """Run the command line. Until it can answer Ctrl-C in words, Ctrl-C ends the process without any."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from admlops.cli.main import main

    main()
