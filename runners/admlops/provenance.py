"""Which code made a result: the checkout's commit, and the adapter's own files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from admlops.errors import AdmlopsError
from admlops.paths import Layout
from admlops.processes import run
from inside.serve import source_digest


def describe_commit(layout: Layout) -> str | None:
    """The checkout's commit, with `+changes` if tracked files differ from it; None outside a git checkout."""
    try:
        head = run(["git", "-C", layout.root, "rev-parse", "HEAD"], timeout_s=20)
        status = run(["git", "-C", layout.root, "status", "--porcelain", "--untracked-files=no"], timeout_s=60)
    except AdmlopsError:
        return None  # no git, or a checkout on a disk that does not answer: provenance says so by None
    if head.returncode or status.returncode:
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def describe_adapter(layout: Layout, folder: Path) -> str:
    """The sha256 over the code that runs inside the model's environment: its Python files and `runners/inside/`.

    Two runs with equal digests, settings and samples give equal records; an uncommitted edit changes it.
    """
    parts = (source_digest(folder), source_digest(layout.inside))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
