"""Where a command writes to: a file, `-` for standard output, or a folder."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

STANDARD_OUTPUT = Path("-")


class OutPath(click.Path):
    """A path to write to; `-` is standard output if `takes_dash`, else an error. `./-` is a file of that name."""

    def __init__(self, *, takes_dash: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path, allow_dash=takes_dash)
        self._takes_dash = takes_dash

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; raises BadParameter for `-` where that cannot be."""
        if str(value) == "-" and not self._takes_dash:
            self.fail("'-' stands for standard output, which takes one file; name a file or a folder", param, ctx)
        path = Path(str(super().convert(str(value), param, ctx)))
        return path.absolute() if path == STANDARD_OUTPUT and str(value) != "-" else path


OUT_FILE = OutPath(takes_dash=True, dir_okay=False)
OUT_FOLDER = OutPath(file_okay=False)


@contextmanager
def open_out(out: Path) -> Iterator[Path]:
    """Give the path to write to; if `out` is `-`, what was written there is printed at the end."""
    if out != STANDARD_OUTPUT:
        yield out
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out"
        yield path
        sys.stdout.flush()
        with path.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def require_out(out: Path) -> None:
    """Check that a file can be written to `out`, before the work whose result it is. Raises StorageError."""
    from admlops.core.storage import explain_os_error, require_writable

    if out == STANDARD_OUTPUT:
        return
    require_writable(out.absolute().parent)
    try:
        out.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain_os_error(error, out) from error


def require_new_folder(out: Path) -> None:
    """Check that `out` is missing or an empty folder, and can be written. Raises UsageError, StorageError."""
    from admlops.core.errors import UsageError
    from admlops.core.storage import explain_os_error, require_writable

    require_writable(out.absolute().parent)
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise explain_os_error(error, out) from error
    if taken:
        raise UsageError(f"{out} is there already", hint="pass another --out, or remove it first")


def check_out(out: Path | None, *, as_json: bool) -> None:
    """Raise UsageError where a command's own JSON and a file would both go to standard output."""
    from admlops.core.errors import UsageError

    if out == STANDARD_OUTPUT and as_json:
        raise UsageError("--json and --out - both print on standard output", hint="leave --json out, or name a file")
