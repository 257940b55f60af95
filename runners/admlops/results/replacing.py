"""Large files that take their place only when they are whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from admlops.core.storage import explain_os_error


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A file name in a temporary folder beside `out`; what was written there takes `out`'s place if all goes well.

    The folder of `out` is made if it is not there.

    Raises:
        StorageError: the disk is full or the folder cannot be made or written; `out` is as before.
    """
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            temporary = Path(folder) / out.name
            yield temporary
            temporary.replace(out)
    except OSError as error:
        raise explain_os_error(error, out) from error
