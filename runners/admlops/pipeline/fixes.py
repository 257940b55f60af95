"""Which of the catalogue's fixes a run needs: corrections without which published weights give wrong results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from admlops.catalog import Model


def needed_fixes(
    model: Model, *, checkpoint: str | None, config: str | None, random: bool
) -> dict[str, dict[str, Any]]:
    """The settings of each fix by its name, for the adapter.

    A checkpoint is known by its name in the catalogue, or by the name of its file wherever that lies. Random weights
    stand for those of the configuration, or for the default ones.
    """
    known = _known(model, checkpoint, config if random else None)
    fixes = () if known is None else model.checkpoints[known].fixes
    return {name: dict(model.fixes[name].settings) for name in fixes}


def _known(model: Model, checkpoint: str | None, config: str | None) -> str | None:
    if checkpoint is not None and checkpoint not in model.checkpoints:
        return next((name for name, one in model.checkpoints.items() if one.file == Path(checkpoint).name), None)
    if config is not None:
        return next((name for name, one in model.checkpoints.items() if one.config == config), None)
    return checkpoint or model.default_checkpoint
