"""The checkpoints that a worker may load: those of the catalogue, those trained here, and files of one's own.

What is recorded must be unchanged; a user's own file is inspected and hashed each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog import Model
from admlops.checkpoints.identity import find_name
from admlops.checkpoints.inspection import inspect
from admlops.checkpoints.register import make_entry, read_register, record
from admlops.checkpoints.store import path_of, require_file
from admlops.checkpoints.trained import Trained, read_trained, trained_folder
from admlops.checkpoints.weights import Weights
from admlops.core.errors import CheckpointError, UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.storage import file_sha256
from admlops.core.types import Say


@dataclass(frozen=True, kw_only=True)
class Usable:
    """A checkpoint that a worker may load.

    `name` is its name in the catalogue, by its content, whatever its file is called; None for weights of one's own.
    `weights` is what is known of a file that was given by path. `config` is the configuration, a file or a name, of
    weights that were trained here.
    """

    path: Path
    sha256: str
    name: str | None = None
    weights: Weights | None = None
    config: str | None = None


def find_problem(layout: Layout, model: Model, name: str, *, thorough: bool = False) -> str | None:
    """Return what keeps a checkpoint from being used; None if nothing does. `thorough` reads every byte again."""
    path = path_of(layout, model, name)
    entry = read_register(path.parent).get(path.name)
    if not path.is_file():
        return "not fetched" if model.checkpoints[name].trained_by is None else "not trained"
    if entry is None:
        return f"never checked: admlops checkpoints add {model.name} {name} {path}"
    if (pinned := model.checkpoints[name].sha256) not in (None, entry.sha256):
        return f"its sha256 is {entry.sha256}, and model.toml pins {pinned}"
    if not thorough and entry.is_unchanged(path):
        return None
    found = file_sha256(path)
    if found != entry.sha256:
        return f"changed since it was recorded: its sha256 is {found}, not {entry.sha256}"
    try:
        inspection = inspect(path, whole=True, form=model.checkpoint_form)
    except CheckpointError as error:
        return error.message
    record(path.parent, path.name, make_entry(path, sha256=found, origin=entry.origin, inspection=inspection))
    return None


def ensure_usable(layout: Layout, model: Model, asked: str, *, say: Say) -> Usable:
    """Return the checkpoint that `--checkpoint` names, by a catalogue name or a file, if a worker may load it.

    One of the catalogue must be recorded and unchanged. A user's own is inspected and hashed here, every time.

    Raises:
        CheckpointError: it is missing, changed, damaged, or would run code.
        UsageError: it is neither a name nor a file.
    """
    if asked in model.checkpoints:
        problem = find_problem(layout, model, asked)
        path = path_of(layout, model, asked)
        if problem is not None:
            raise CheckpointError(
                f"the checkpoint {asked} of {model.name} cannot be used: {problem} ({path})",
                hint=model.weights_command(asked),
            )
        return Usable(path=path, sha256=read_register(path.parent)[path.name].sha256, name=asked)
    is_path = "/" in asked  # which no name of trained weights has: their list need not be there, or be readable
    trained = None if is_path else read_trained(layout, model).get(asked)
    if trained is not None:
        return _usable_trained(trained_folder(layout, model), asked, trained)
    path = user_path(asked).resolve()
    if _is_absent(path):
        raise UsageError(
            f"--checkpoint {asked} is neither a file nor a name of the catalogue; "
            + (f"it is of the model {model.moved[asked]} now" if asked in model.moved else _names(model.checkpoints)),
            hint=f"admlops models show {model.moved.get(asked, model.name)}",
        )
    require_file(path, f"admlops models show {model.name}")
    say(f"inspecting {path}")
    inspection = inspect(path, whole=True, form=model.checkpoint_form)
    sha256 = file_sha256(path)
    name = find_name(layout, model, sha256, inspection)
    if name is not None:
        say(f"{path} holds the weights of the catalogue's {name}")
    return Usable(path=path, sha256=sha256, name=name, weights=inspection.weights)


def _usable_trained(folder: Path, name: str, trained: Trained) -> Usable:
    """Weights that were trained here, checked against the hash of that time. Raises CheckpointError: they changed."""
    path = folder / trained.file
    entry = read_register(folder).get(path.name)
    unchanged = entry is not None and path.is_file() and entry.is_unchanged(path)
    if not unchanged and not (path.is_file() and file_sha256(path) == trained.sha256):
        raise CheckpointError(
            f"the trained checkpoint {name} cannot be used: {path} is missing or not the one that was registered",
            hint=f"admlops train {trained.model} --resume {trained.training}   # registers it again",
        )
    return Usable(
        path=path,
        sha256=trained.sha256,
        weights=inspect(path, form="tensors").weights,
        config=trained.config_name if trained.config is None else str(folder / trained.config),
    )


def _names(names: Iterable[str]) -> str:
    return f"known are {', '.join(names)}" if names else "none is known by name"


def _is_absent(path: Path) -> bool:
    """Tell whether there is surely nothing; in a folder that may not be entered, that is not known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
