"""Which code made a result: the checkout's commit, and whether it was changed."""

from __future__ import annotations

from admlops.errors import AdmlopsError
from admlops.paths import Layout
from admlops.processes import run


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
