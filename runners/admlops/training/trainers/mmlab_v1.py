"""The trainer of networks on mmcv 1.x: info files by the authors' converter, then their own `tools/train.py`.

Info files lie in `infos/` of the repository folder, one folder for each model, data set and source commit. It holds
links to the data, because converters write beside what they read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from admlops.catalog import Model
from admlops.core.errors import UsageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error, write_atomically
from admlops.core.types import Say
from admlops.execution.job_process import JobRequest, run_job
from admlops.sources.provenance import describe_sources
from admlops.training.trainer import Place

READY = "ready.json"
NUSCENES = "nuscenes"
"""The data kind whose info files have boxes of mmdet3d's, in one of its conventions."""
CONVERTED_SPLITS = ("train", "mini_train")
"""What converters call training: they know only the data sets' own splits."""


class MmlabTrainer:
    """Gives the program `data`: `train`, an info file, and `root`, the folder of links that it names."""

    id = "mmlab-v1"
    takes_processes = True

    def program(self, layout: Layout, model: Model) -> Path:
        return layout.worker / "train_mmlab.py"

    def prepare(self, place: Place, *, say: Say) -> dict[str, Any]:
        """Make the info files, unless they are there, and check the convention of their boxes."""
        if place.split not in CONVERTED_SPLITS:
            raise UsageError(
                f"--split {place.split}: the authors' converter makes info files of the data set's own splits alone",
                hint="pass --split train, or mini_train for v1.0-mini",
            )
        folder = _infos_folder(place)
        with hold(folder.with_name(f".{folder.name}.lock"), what=f"making infos of {place.name}", say=say):
            _link(Path(place.data.root), folder)
            ready = folder / READY
            made = json.loads(ready.read_bytes())["train"] if ready.is_file() else None
            found = _run_job(place, folder, made=made, say=say)
            if made is None:
                write_atomically(folder / READY, json.dumps(found).encode())
        return {"data": {"train": found["train"], "root": str(folder), "compared": found["compared"]}}


def _infos_folder(place: Place) -> Path:
    """The folder of these data, as the present source converts them: it is named by all that decides its content."""
    root = Path(place.data.root)
    tables = sorted([*(root / place.data.version).glob("*.json"), *root.glob("data_dict_*.json")])
    facts = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in tables]
    content = json.dumps([str(root.resolve()), facts, describe_sources(place.layout, place.model)])
    digest = hashlib.sha256(content.encode()).hexdigest()[:12]
    return place.layout.repository / "infos" / f"{place.name}-{place.data.version}-{digest}"


def _link(root: Path, folder: Path) -> None:
    """Make a folder that has links to all that the data set's root holds."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in root.iterdir():
            link = folder / one.name
            if not link.is_symlink() and not link.exists():
                link.symlink_to(one.resolve())
    except OSError as error:
        raise explain_os_error(error, folder) from error


def _run_job(place: Place, folder: Path, *, made: str | None, say: Say) -> dict[str, Any]:
    return run_job(
        JobRequest(
            model=place.name,
            title=f"making info files of {place.name}",
            command=place.command,
            program=place.layout.worker / "make_infos.py",
            settings=place.settings,
            request={
                "root": str(folder),
                "version": place.data.version,
                "convention": place.model.box_convention if place.data.kind == NUSCENES else None,
                "made": made,
            },
            log=folder / "converter.log",
            cancel=place.cancel,
        ),
        say=say,
    )


TRAINER = MmlabTrainer()
