"""Lines for the worker's log."""

import sys


def say(text: str) -> None:
    """Write a line to standard error, which is the log."""
    sys.stderr.write("{}\n".format(text))
    sys.stderr.flush()
