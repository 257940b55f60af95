"""Which code made a result: the checkout's commit, the model's sources, and the adapter's own files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from admlops.catalog import Model
from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout
from admlops.core.processes import run
from admlops.sources.checkouts import source_state
from admlops.worker.serve import source_digest


def describe_commit(layout: Layout) -> str | None:
    """The checkout's commit, with `+changes` if tracked files differ from it; None outside a git checkout."""
    try:
        head = run(["git", "-C", layout.checkout, "rev-parse", "HEAD"], timeout_s=20)
        status = run(["git", "-C", layout.checkout, "status", "--porcelain", "--untracked-files=no"], timeout_s=60)
    except AdmlopsError:
        return None  # no git, or a checkout on a disk that does not answer: provenance says so by None
    if head.returncode or status.returncode:
        return None
    return head.stdout.strip() + ("+changes" if status.stdout.strip() else "")


def describe_sources(layout: Layout, model: Model) -> dict[str, str]:
    """What a model's code comes from: folder under `submodules/` → commit, with `+changes:<sha256>` if it was edited.

    The sha256 is over the tracked files that differ. A folder that is not checked out is absent.
    """
    states = source_state(layout, model)
    return {
        folder: state.commit + (f"+changes:{state.diff_sha256}" if state.dirty else "")
        for folder, state in states.items()
        if state.commit is not None
    }


def describe_adapter(layout: Layout, folder: Path) -> str:
    """The sha256 over the code that runs inside the model's environment: its Python files and `runners/worker/`.

    Two runs with equal digests, settings and samples give equal records; an uncommitted edit changes it.
    """
    parts = (describe_code(folder), source_digest(layout.worker))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def describe_code(folder: Path) -> str:
    """The sha256 over the Python files of a model's folder: what feeds an exported network and decodes its answer."""
    return source_digest(folder)
