"""Taking weights that were trained here into the checkpoint store."""

from __future__ import annotations

from pathlib import Path

import msgspec

from admlops.catalog import Model
from admlops.checkpoints.inspection import inspect
from admlops.checkpoints.store import Stored, copy_in, place
from admlops.checkpoints.trained import Trained, read_trained, trained_folder, write_trained
from admlops.core.errors import UsageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.core.types import Say


def check_free(layout: Layout, model: Model, name: str) -> None:
    """Raise UsageError for a name that other weights of the model have."""
    if name in model.checkpoints or name in read_trained(layout, model):
        raise UsageError(f"{model.name} has weights called {name} already", hint="choose another --name")


def keep_trained(
    layout: Layout, model: Model, name: str, *, weights: Path, config: Path | None, facts: Trained, say: Say
) -> Stored:
    """Copy weights and their configuration into the store, inspect, hash and register them as `name`.

    `facts` says what they came from; its file, hash and configuration are filled in here.

    Raises:
        CheckpointError: the file is damaged or would run code.
        StorageError: the disk is full.
    """
    folder = trained_folder(layout, model)
    found = inspect(weights, form=model.checkpoint_form)
    target = folder / f"{name}{'.safetensors' if found.format == 'safetensors' else weights.suffix}"
    with hold(folder / f".{name}.lock", what=f"registering {name}", say=say):
        incoming = folder / ".incoming" / target.name
        sha256 = copy_in(weights, incoming, None)
        stored = place(
            incoming, target, sha256=sha256, origin=f"trained here, {facts.training}", form=model.checkpoint_form
        )
        text = None
        if config is not None:
            text = f"{name}{config.suffix}"
            write_atomically(folder / text, config.read_bytes())
        write_trained(layout, model, name, msgspec.structs.replace(facts, file=target.name, sha256=sha256, config=text))
    return stored
