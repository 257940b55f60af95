"""What every checkpoint on this machine holds: each is read whole, none is loaded, and nothing is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from admlops.catalog import Model, list_models, load_model
from admlops.checkpoints import inspect
from admlops.checkpoints.register import read_register
from admlops.core.errors import CheckpointError
from admlops.core.paths import Layout
from admlops.core.storage import file_sha256

SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".pkl", ".npz", ".tar")


@dataclass(frozen=True, kw_only=True)
class AuditedFile:
    """One file. `problem` is empty where it is what was recorded and loading it runs nothing."""

    path: Path
    model: str
    name: str
    problem: str = ""
    hint: str = ""


def audit_checkpoints(layout: Layout) -> Iterator[AuditedFile]:
    """Inspect every checkpoint below the layout's folder: those of the catalogue, and others that lie there."""
    models = {name: load_model(layout, name) for name in list_models(layout)}
    for folder in sorted(path for path in layout.checkpoints.glob("*") if path.is_dir()):
        model = models.get(folder.name)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in SUFFIXES and ".incoming" not in path.parts:
                yield _audit(path, folder, model)


def _audit(path: Path, folder: Path, model: Model | None) -> AuditedFile:
    names = {} if model is None else {point.file: name for name, point in model.checkpoints.items()}
    name = names.get(str(path.relative_to(folder)), "")
    plain = AuditedFile(path=path, model=folder.name, name=name)
    try:
        inspect(path, whole=True, form="tensors" if model is None else model.checkpoint_form)
    except CheckpointError as error:
        return replace(plain, problem=error.message, hint=error.hint)
    entry = read_register(path.parent).get(path.name)
    if not name:
        return plain
    if entry is None:
        hint = f"admlops checkpoints add {folder.name} {name} {path}"
        return replace(plain, problem=f"{path} was never recorded", hint=hint)
    if (found := file_sha256(path)) != entry.sha256:
        problem = f"{path} changed since it was recorded: its sha256 is {found}, not {entry.sha256}"
        return replace(plain, problem=problem, hint=f"admlops checkpoints fetch {folder.name} {name}")
    return plain
