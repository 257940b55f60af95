"""The trackers by id, and what a tracker is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from admlops.core.registry import Registry
from admlops.core.types import Say
from admlops.tracking.exported import ExportedRun


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a run goes, as the user says it; what is None has the tracker's own default.

    Attributes:
        server: the address of a server, without credentials in it.
        folder: where files go.
        project: MLflow's experiment, W&B's project; by default one a data set and split.
        online: send to the tracker's own service at once (W&B); else what is written can be sent later.
        records: upload the records as well.
    """

    folder: Path
    server: str | None = None
    project: str | None = None
    online: bool = False
    records: bool = False


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What became of an export. `where` is an address or a folder for people, `id` the tracker's own id of the run."""

    outcome: Literal["created", "updated", "unchanged"]
    where: str
    id: str
    next_step: str = ""


class Tracker(Protocol):
    """One place to export to. It imports its library when it is used."""

    @property
    def id(self) -> str:
        """The id that `--to` names, and the extra that installs its library."""

    def track(self, run: ExportedRun, destination: Destination, *, say: Say) -> Tracked:
        """Export a run; one that is there already is updated, or left as it is where nothing changed.

        Raises:
            MissingExtraError: its library is not installed.
            TrackingError: the server cannot be reached or refuses, or the folder holds something else.
            StorageError: files cannot be written.
        """


TRACKERS: Registry[Tracker] = Registry(
    "tracker",
    {
        "mlflow": "admlops.tracking.mlflow:TRACKER",
        "wandb": "admlops.tracking.wandb:TRACKER",
        "tensorboard": "admlops.tracking.tensorboard:TRACKER",
    },
)
