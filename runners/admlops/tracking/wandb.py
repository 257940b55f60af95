"""Weights & Biases: offline by default, a folder that `wandb sync` sends; online where the user asks for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from admlops.core.addresses import hide_users
from admlops.core.errors import MissingExtraError, TrackingError
from admlops.core.storage import explain_os_error, write_atomically
from admlops.core.types import Say
from admlops.tracking.exported import ExportedRun
from admlops.tracking.trackers import Destination, Tracked

FOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config"}
"""W&B stages artifacts in the user's home, which a pod loses with its container: they go beside the run instead."""
MARKS = "exported"


class WandB:
    """Writes `<folder>/wandb/offline-run-*`, or sends."""

    id = "wandb"

    def track(self, run: ExportedRun, destination: Destination, *, say: Say) -> Tracked:
        """Write or send the run under an id made from its name and time. Raises as `Tracker.track`."""
        folder = destination.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_os_error(error, folder) from error
        for variable, name in FOLDERS.items():
            os.environ.setdefault(variable, str(folder / name))
        library = _load()
        project = destination.project or run.project
        mark = folder / MARKS / f"{run.id}.json"
        before = _read_mark(mark)
        now = {"digest": run.digest, "online": destination.online, "project": project}
        if before is not None and {key: before.get(key) for key in now} == now and _is_there(before):
            return Tracked(outcome="unchanged", where=before["where"], id=run.id, next_step=before["next_step"])
        try:
            where, next_step = _write(library, run, destination, project)
        except (library.Error, OSError) as error:
            said = " ".join(hide_users(str(error)).split())[:500]
            raise TrackingError(
                f"Weights & Biases refused: {said}", hint="wandb login   # or leave --online out"
            ) from error
        write_atomically(mark, json.dumps({**now, "where": where, "next_step": next_step}).encode() + b"\n")
        return Tracked(outcome="created" if before is None else "updated", where=where, id=run.id, next_step=next_step)


class _Library:
    def __init__(self) -> None:
        import wandb

        self.wandb: Any = wandb
        self.Error: type[Exception] = wandb.Error


def _load() -> _Library:
    try:
        return _Library()
    except ImportError as error:
        raise MissingExtraError("--to wandb", "wandb", error) from error


def _read_mark(file: Path) -> dict[str, Any] | None:
    try:
        mark: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return mark


def _is_there(before: dict[str, Any]) -> bool:
    """Whether what was written is still there, or was sent."""
    return bool(before["online"]) or Path(before["where"]).is_dir()


def _write(library: _Library, run: ExportedRun, destination: Destination, project: str) -> tuple[str, str]:
    """Write one W&B run; returns where it is and what to do next."""
    wandb = library.wandb
    if destination.online and not wandb.login(key=None, relogin=False, verify=False, timeout=1):
        raise TrackingError(
            "--online needs an account of Weights & Biases, and no key is set",
            hint="export WANDB_API_KEY=...   # or leave --online out: what is written can be sent later",
        )
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, disable_code=True, x_disable_stats=True,
        x_disable_meta=True,
    )  # fmt: skip
    with wandb.init(
        project=_project(project),
        id=run.id,
        name=run.title,
        group=run.tags.get("admlops.environment", "")[:12] or None,
        notes=run.note,
        tags=_labels(run),
        config={**run.params, **run.tags, "dataset": run.dataset[0], "dataset_digest": run.dataset[1]},
        dir=str(destination.folder),
        mode="online" if destination.online else "offline",
        resume="allow" if destination.online else None,
        reinit="create_new",
        settings=settings,
    ) as session:
        for t, values in run.telemetry:
            session.log({"seconds": t, **values})
        session.summary.update({**run.metrics, "samples": run.samples, "state": run.state})
        session.log_artifact(_artifact(wandb, run, destination))
        if destination.online:
            return str(session.url), ""
        where = str(Path(session.dir).parent)
    return where, f"wandb sync {where}"


def _artifact(wandb: Any, run: ExportedRun, destination: Destination) -> Any:
    facts = {"run": run.run, "digest": run.digest}
    artifact = wandb.Artifact(name=f"run-{run.id}", type="admlops-run", metadata=facts)
    for path in run.files:
        artifact.add_file(str(path))
    for path in run.records if destination.records else ():
        artifact.add_file(str(path), name=f"records/{path.name}")
    return artifact


def _labels(run: ExportedRun) -> list[str]:
    synthetic = ["synthetic"] if "admlops.synthetic" in run.tags else []
    return [run.params["model"], run.params["variant"], *synthetic]


def _project(name: str) -> str:
    """A project's name in the characters that W&B takes."""
    return "".join("-" if one in "/\\#?%: " else one for one in name)[:128]


TRACKER = WandB()
