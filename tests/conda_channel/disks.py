"""Small and read-only disks, where this process may mount them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own at `folder`; skips the test where this process may not mount one."""
    folder.mkdir()
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", f"size={size}", "admlops-test", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs: run the tests as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize_disk(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


@contextmanager
def read_only_folder(folder: Path) -> Iterator[Path]:
    """A folder that nothing can be written into, not even by root."""
    if os.geteuid() == 0:
        with small_disk(folder, "1m"):
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            yield folder
        return
    folder.mkdir(mode=0o555)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
