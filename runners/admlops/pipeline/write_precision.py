"""Write an exported network in another precision: a job beside the model, and an artifact of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog import Model
from admlops.catalog.registries import RUNTIMES
from admlops.core.counting import count_of
from admlops.core.errors import DataError, UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.storage import file_sha256, require_writable
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasSplits, Scene, fetch_files, open_data
from admlops.deployment.artifacts import Artifact, artifact_key, keep_artifact, list_artifacts, new_artifact
from admlops.deployment.calibration import make_calibration
from admlops.deployment.manifest import Calibration, Manifest
from admlops.environments import Environment, ensure_tool
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.pipeline.run_engine import site_packages
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.scene_jobs import DataSetSamples
from admlops.pipeline.selection import Selection, select
from admlops.worker.samples.form import make_paths_absolute
from admlops.worker.write_precision import FP16, INT8

TOOL = "modelopt"
"""The environment in `envs/tools` that has ModelOpt."""
PRECISIONS = (FP16, INT8)
DEFAULT_SAMPLES = 64
"""How many calibration samples are taken, where nobody says."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The precision to write; `calibrate` is a split or a file of tokens, and `samples` how many of it."""

    precision: str
    calibrate: str | None = None
    samples: int = DEFAULT_SAMPLES

    def select(self, data: Dataset, *, temporal: bool) -> list[Scene]:
        """Return the calibration samples in the data set, by scene; a split's name goes before a file's.

        Raises:
            UsageError: `calibrate` is neither a split nor a file of tokens, or not samples that the model can take.
            DataError: a token is not in the data set.
        """
        assert self.calibrate is not None
        try:
            data.scenes_of_split(self.calibrate)
        except DataError:
            selection = Selection(tokens=self._file(data), limit=self.samples)
        else:
            selection = Selection(split=self.calibrate, limit=self.samples)
        try:
            return select(data, selection, temporal=temporal)
        except UsageError as error:
            hint = "name samples of whole scenes, from their first one on, one token a line"
            raise UsageError(error.message.replace("--tokens", "--calibrate"), hint=hint) from error

    def _file(self, data: Dataset) -> Path:
        path = Path(str(self.calibrate)).expanduser()
        if self.calibrate and path.exists():
            return path
        splits = [*data.splits(), "all"] if isinstance(data, HasSplits) else ["all"]
        raise UsageError(
            f"--calibrate {self.calibrate!r} is neither a split of {data.root} nor a file of sample tokens",
            hint=f"pass --calibrate {' or '.join(splits)}, or a file",
        )


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples that int8 ranges come from, in the data set; none for another precision."""

    data: Dataset | None = None
    tokens: Sequence[str] = ()

    @property
    def calibration(self) -> Calibration | None:
        """What a manifest says of them."""
        return None if self.data is None else make_calibration(str(self.data.root), self.data.version, self.tokens)

    def read(self, model: Model, *, say: Say) -> list[Mapping[str, Any]]:
        """Return them as an adapter gets them, with absolute paths."""
        if self.data is None:
            return []
        fetch_files(self.data, say)
        reader = DataSetSamples(self.data, with_context=model.traits.needs_context)
        say(f"int8 ranges come from {count_of(len(self.tokens), 'sample')}; no run over any of them is accepted")
        return [make_paths_absolute(reader.read(token), str(self.data.root)) for token in self.tokens]


def choose_samples(model: Model, wanted: Wanted, run: RunRequest) -> Samples:
    """Choose the calibration samples, before anything is exported for a wrong split or file of tokens.

    Raises:
        DataError: the data set, the split or a token is not there.
        UsageError: the file of tokens is not valid, or a temporal model cannot run the samples.
    """
    if wanted.calibrate is None:
        return Samples()
    data = open_data(run.data, run.version, wanted=model.reads)
    scenes = wanted.select(data, temporal=model.temporal)
    return Samples(data=data, tokens=[token for scene in scenes for token in scene.samples])


def check_wanted(wanted: Wanted) -> None:
    """Raise UsageError where int8 has no samples, or another precision has some."""
    if wanted.precision == INT8 and wanted.calibrate is None:
        raise UsageError(
            "--precision int8 takes its ranges from samples, and none are named",
            hint="add --calibrate SPLIT or FILE: samples that nothing is judged on",
        )
    if wanted.precision != INT8 and wanted.calibrate is not None:
        raise UsageError(
            f"--calibrate {wanted.calibrate} is of int8 alone, and the precision is {wanted.precision}",
            hint="leave --calibrate out",
        )


def write_precision(
    layout: Layout,
    model: Model,
    base: Artifact,
    wanted: Wanted,
    samples: Samples,
    run: RunRequest,
    *,
    environment: Environment,
    settings: Mapping[str, Any],
    fresh: bool,
    say: Say,
) -> Artifact:
    """Write the float32 file of `base` in another precision; an equal earlier file is returned as it is.

    Raises:
        DataError: the calibration samples cannot be read.
        RunFailedError: the file cannot be written, or is not of the precision; nothing is kept.
    """
    tool = ensure_tool(layout, TOOL, say=say)
    calibration = samples.calibration
    identity = {
        "base": base.manifest.sha256,
        "precision": wanted.precision,
        "tool": tool.digest,
        "samples": None if calibration is None else calibration.samples_sha256,
    }
    key = artifact_key(identity)
    there = [one for one in list_artifacts(layout, model.name) if one.manifest.key == key]
    if there and not fresh and there[0].file.is_file():
        say(f"{model.name}: written as {wanted.precision} before, {there[0].manifest.created}")
        return there[0]
    require_writable(layout.exported)
    with new_artifact(layout, model.name) as folder:
        file = folder / f"network.{wanted.precision}.onnx"
        runtime = RUNTIMES.get("onnxruntime")
        done = run_job(
            JobRequest(
                model=model.name,
                title=f"writing {model.name} as {wanted.precision}",
                command=WorkerCommand(
                    python=environment.python,
                    adapter=model.adapter,
                    cwd=working_folder(layout, model),
                    variables=process_environment(environment.variables),
                ),
                program=layout.worker / "write_precision.py",
                settings={**settings, "device": "cpu", "engine": {"file": str(base.file), "form": base.manifest.form}},
                request={
                    "source": str(base.file),
                    "file": str(file),
                    "precision": wanted.precision,
                    "form": base.manifest.form,
                    "samples": samples.read(model, say=say),
                    "runtime": {"id": runtime.id, "file": str(runtime.file)},
                },
                log=layout.exported / model.name / "export.log",
                path=[str(site_packages(tool))],
                cancel=run.cancel,
            ),
            say=say,
        )
        return keep_artifact(layout, folder, _make_manifest(base.manifest, key, wanted, file, calibration, done))


def _make_manifest(
    base: Manifest, key: str, wanted: Wanted, file: Path, calibration: Calibration | None, done: Mapping[str, Any]
) -> Manifest:
    own = {
        "key": key,
        "precision": wanted.precision,
        "file": file.name,
        "sha256": file_sha256(file),
        "size_bytes": file.stat().st_size,
        "opset": done["opset"],
        "exporter": f"{base.exporter}; {done['exporter']}",
        "versions": done["versions"],
        "verdicts": {**done["verdicts"], "base": f"{base.model}/{base.key}"},
        "fixes": done["fixes"],
        "calibration": calibration,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return msgspec.structs.replace(base, **own)
