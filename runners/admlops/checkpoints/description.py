"""What is known of a file of weights, for a person who has one and wonders what it is."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from admlops.catalog import Model
from admlops.checkpoints.forms import Form
from admlops.checkpoints.identity import config_of_name, find_name
from admlops.checkpoints.inspection import Inspection, inspect
from admlops.checkpoints.register import read_register
from admlops.checkpoints.store import require_file
from admlops.checkpoints.weights import Weights
from admlops.core.errors import CheckpointError
from admlops.core.paths import Layout
from admlops.core.storage import file_sha256


def describe(layout: Layout, models: Iterable[Model], file: Path) -> dict[str, Any]:
    """Return facts by name, as JSON takes them. `is` and `fits` name entries of the catalogue, as `Model name`.

    Raises:
        UsageError: there is no such file.
        CheckpointError: it is no checkpoint, or would run code when it is loaded.
    """
    require_file(file, f"ls -l {file.parent}")
    seen, form = _inspect_any(file)
    weights, sha256 = seen.weights, file_sha256(file)
    known = [(model, find_name(layout, model, sha256, seen)) for model in models]
    return {
        "format": seen.format,
        "form": form,
        "size_bytes": seen.size_bytes,
        "sha256": sha256,
        "tensors": seen.tensors,
        "weights": len(weights.tensors),
        "kinds": sorted(
            {tensor.kind.removeprefix("torch ").removesuffix("Storage") for tensor in weights.tensors.values()}
        ),
        "moving_average": weights.ema,
        "left_aside": weights.left or "nothing",
        "trained_with": weights.config_name or None,
        "holds_its_config": bool(weights.config_text),
        "is": [f"{model.name} {name}" for model, name in known if name is not None],
        "fits": [one for model, _ in known for one in _fitting(layout, model, weights)],
    }


def _inspect_any(file: Path) -> tuple[Inspection, Form]:
    """Inspect a file in the form that it has, the usual one first; some models' authors save others.

    Raises:
        CheckpointError: it is of none of them; says why it is not of the usual one.
    """
    try:
        return inspect(file, whole=True), "tensors"
    except CheckpointError as error:
        others: tuple[Form, ...] = ("network", "arrays")
        for form in others:
            with suppress(CheckpointError):
                return inspect(file, whole=True, form=form), form
        raise error from None


def _fitting(layout: Layout, model: Model, weights: Weights) -> list[str]:
    """The configs that the weights name, or whose recorded weights have the same names and shapes."""
    recorded = read_register(layout.checkpoints / model.name)
    same = [
        one.config
        for one in model.checkpoints.values()
        if one.file in recorded and recorded[one.file].signature == weights.signature
    ]
    said = config_of_name(model, weights)
    return [f"{model.name} {config}" for config in dict.fromkeys([*([said] if said else []), *same])]
