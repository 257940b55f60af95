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

    Raises:
        StorageError: the disk is full or the folder is missing or cannot be written; `out` is as before.
    """
    out = out.absolute()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
            temporary = Path(folder) / out.name
            yield temporary
            temporary.replace(out)
    except OSError as error:
        raise explain_os_error(error, out) from error
