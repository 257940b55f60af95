"""Pictures of every fault of a grid, made where the models see them: in a model's own environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from admlops.catalog import Model
from admlops.core.errors import DataError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.environments import ensure_model
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.pipeline.run_settings import working_folder
from admlops.results.data_set import open_run_data
from admlops.results.header import RunHeader
from admlops.worker.corruptions.fault import PICTURES, Fault

WIDTH = 320
FRONT = "CAM_FRONT"


def make_fault_pictures(
    layout: Layout, model: Model, header: RunHeader, faults: Sequence[Fault], *, log: Path, say: Say
) -> dict[str, str]:
    """Return the front camera's picture of a run's first sample by the fault's label, and `clean`; base64 of JPEGs.

    Raises:
        DataError: the picture cannot be read.
        RunFailedError: the model's environment lacks what makes pictures.
    """
    shown = [one for one in faults if one.name in PICTURES]
    data = open_run_data(header.data)
    scene = data.scenes(list(header.scenes)[:1])[0]
    sample = data.sample(scene.samples[0])
    camera = FRONT if FRONT in sample["cameras"] else next(iter(sample["cameras"]), None)
    if camera is None:
        raise DataError(f"sample {scene.samples[0]} has no camera", hint=f"admlops data check {data.root}")
    environment = ensure_model(layout, model, header.variant, say=say)
    done = run_job(
        JobRequest(
            model=model.name,
            title=f"drawing faults for {model.name}",
            command=WorkerCommand(
                python=environment.python,
                adapter=model.adapter,
                cwd=working_folder(layout, model),
                variables=process_environment(environment.variables),
            ),
            program=layout.worker / "fault_sheet.py",
            settings={"device": "cpu"},
            request={
                "sample": sample,
                "camera": camera,
                "faults": [one.to_json() for one in shown],
                "width": WIDTH,
            },
            log=log,
        ),
        say=say,
    )
    pictures: dict[str, str] = done["pictures"]
    return pictures
