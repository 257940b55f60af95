"""The weights that were trained here, as `admlops checkpoints list` shows them: with their start and teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from admlops.catalog import Model
    from admlops.checkpoints import Trained
    from admlops.core.paths import Layout


def list_trained(layout: Layout, model: Model) -> list[dict[str, Any]]:
    """A row for each, the oldest first. Raises CheckpointError: their list is damaged."""
    from admlops.checkpoints import read_trained, trained_folder
    from admlops.checkpoints.register import read_register

    folder = trained_folder(layout, model)
    entries = read_register(folder)
    rows = []
    for name, one in read_trained(layout, model).items():
        path, entry = folder / one.file, entries.get(one.file)
        is_kept = path.is_file() and entry is not None and entry.sha256 == one.sha256 and entry.is_unchanged(path)
        rows.append(
            {
                "model": model.name,
                "checkpoint": name,
                "default": False,
                "path": str(path),
                "size_bytes": None if entry is None else entry.size_bytes,
                "sha256": one.sha256,
                "sha256_from": "trained.json",
                "format": None if entry is None else entry.format,
                "status": describe_origin(one) if is_kept else f"missing or changed: {one.training} made it",
                "parent": one.parent,
                "teacher": one.teacher,
                "pruned": one.pruned,
            }
        )
    return rows


def describe_origin(one: Trained) -> str:
    """`ready; trained here, from big, 50 % of channels taken out, taught by big`."""
    parts = ["trained here"]
    if one.parent.get("name"):
        parts.append(f"from {one.parent['name']}")
    if one.pruned is not None:
        parts.append(f"{one.pruned:.0%} of channels taken out")
    if one.teacher is not None:
        parts.append(f"taught by {one.teacher['name']}")
    return "ready; " + ", ".join(parts)
