"""Where the program begins: PYTHONPATH's folders go last on the path, and Ctrl-C is quiet until it has an answer.

Nothing is imported here before the path is in order: a folder of PYTHONPATH may hold another Python's packages, or a
module with the name of one of ours or of Python's own.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def start() -> "NoReturn":
    """Run the command line as the installed command `admlops`."""
    _put_others_last()
    begin()


def begin() -> "NoReturn":
    """Run the command line with the path as it is. Until it can answer Ctrl-C in words, Ctrl-C ends it silently."""
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from admlops.cli.main import main

    main()


def _put_others_last() -> None:
    """Look into PYTHONPATH's folders after our own packages, where an extension may lie."""
    import os  # site has imported it

    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [os.path.abspath(folder) for folder in named if folder]  # noqa: PTH100  pathlib may be another's
    sys.path[:] = [*(folder for folder in sys.path if folder not in others), *dict.fromkeys(others)]
