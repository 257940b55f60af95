"""Export a model's network: a job in the model's environment writes the file, and its manifest is kept beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog import Model, load_model
from admlops.catalog.registries import RUNTIMES
from admlops.core.counting import count_of
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.storage import file_sha256, require_writable
from admlops.core.types import Planned, Say
from admlops.datasets.base import open_data
from admlops.deployment.artifacts import Artifact, artifact_key, keep_artifact, list_artifacts, new_artifact
from admlops.deployment.engines import AUTO, PRECISIONS
from admlops.deployment.manifest import ExportSource, Manifest, TensorInfo
from admlops.environments import Environment, ensure_tool, find_model, find_tool
from admlops.environments.spec.environment_spec import EnvironmentSpec
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.pipeline.artifact_choice import list_plain_variants
from admlops.pipeline.config_text import config_sha256
from admlops.pipeline.expected_time import spell_time
from admlops.pipeline.options import check_config, check_options
from admlops.pipeline.preview import check_weights
from admlops.pipeline.run import check_set_up
from admlops.pipeline.run_engine import require_network, site_packages
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import adapter_settings, catalogue_name, chosen_weights, working_folder
from admlops.pipeline.write_precision import (
    DEFAULT_SAMPLES,
    Samples,
    Wanted,
    check_wanted,
    choose_samples,
    write_precision,
)
from admlops.pipeline.write_precision import TOOL as PRECISION_TOOL
from admlops.results.header import FLOAT32_FILES
from admlops.sources.provenance import describe_adapter, describe_code, describe_commit, describe_sources
from admlops.worker.network import DEFAULT_FORM

ONNX = "onnx"
TOOL = "onnx"
"""The environment in `envs/tools` that has the exporter's and the checker's packages."""
DEFAULT_OPSET = 17
OPSETS = range(16, 21)
"""From 16 on the standard has GridSample; TensorRT has trouble with GridSample of opset 20."""
FILE = "network.onnx"
NUSCENES_PICTURES = {"camera_height": 900, "camera_width": 1600}
"""The default size of pictures for exports of networks whose input has the cameras' size, scaled."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, and how. `run` names the model, its weights, configuration, variant and options.

    `axes` are the lengths of dynamic axes that the network is traced with. `fresh` exports again what is there.
    `calibrate` is the split, or the file of tokens, that int8 ranges are taken from, at most `calibration_samples`.
    """

    run: RunRequest
    to: str = ONNX
    precision: str = AUTO
    opset: int = DEFAULT_OPSET
    form: str = DEFAULT_FORM
    axes: Mapping[str, int] = field(default_factory=dict)
    fresh: bool = False
    calibrate: str | None = None
    calibration_samples: int = DEFAULT_SAMPLES

    @property
    def wanted(self) -> Wanted | None:
        """The precision to write besides float32, None where the exported file itself is asked for."""
        if self.precision in FLOAT32_FILES and self.calibrate is None:
            return None
        return Wanted(precision=self.precision, calibrate=self.calibrate, samples=self.calibration_samples)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """An export that can begin. `identity` decides the file."""

    model: Model
    request: ExportRequest
    environment: Environment
    tool: Environment
    settings: Mapping[str, Any]
    source: ExportSource

    @property
    def identity(self) -> dict[str, Any]:
        request = self.request
        source = {name: value for name, value in msgspec.to_builtins(self.source).items() if name != "commit"}
        asked = {"kind": request.to, "precision": request.precision, "opset": request.opset, "form": request.form}
        return {
            **asked,
            "model": self.model.name,
            "source": source,
            "axes": dict(request.axes),
            "tool": self.tool.digest,
        }

    @property
    def key(self) -> str:
        return artifact_key(self.identity)


def export_model(layout: Layout, request: ExportRequest, *, say: Say) -> Artifact:
    """Export a network and return its folder; an equal earlier export is returned as it is.

    Raises:
        UsageError: the model has no network to export, or an option is wrong.
        DataError: the samples that int8 ranges come from are not there; nothing is exported then.
        EnvError: the model is not set up, or its variant cannot export.
        RunFailedError: PyTorch cannot export it, or the file is not what was asked for; nothing is kept.
    """
    model = load_model(layout, request.run.model)
    check_export(model, request)
    check_set_up(layout, model, request.run.variant)
    if model.license.startswith("AGPL"):
        say(f"{model.name}: the exported file holds its network, under {model.weights_license or model.license}")
    request = for_cameras(model, request)
    wanted = request.wanted
    if wanted is None:
        _require_torch(model, request.run.variant)
        return _export_float32(layout, _prepare(layout, model, request, say=say), say=say)
    samples = choose_samples(model, wanted, request.run)
    _require_torch(model, request.run.variant)
    own = replace(request, precision=AUTO, calibrate=None)
    prepared = _prepare(layout, model, own, say=say)
    return write_precision(
        layout,
        model,
        _export_float32(layout, prepared, say=say),
        wanted,
        samples,
        request.run,
        environment=prepared.environment,
        settings={**prepared.settings, "variant": prepared.source.variant},
        fresh=request.fresh,
        say=say,
    )


def for_cameras(model: Model, request: ExportRequest) -> ExportRequest:
    """Return a request with the size of its data's pictures added, if the network takes pictures in that size.

    Nothing is added without data, or for pictures of nuScenes' size, for which networks are exported by default.
    """
    if not model.camera_sized or request.run.data == Path():
        return request
    data = open_data(request.run.data, request.run.version)
    token = next(token for scene in data.scenes() for token in scene.samples)
    camera = next(iter(data.sample(token)["cameras"].values()))
    size = {"camera_height": int(camera["height"]), "camera_width": int(camera["width"])}
    if size == NUSCENES_PICTURES or not all(size.values()):
        return request
    return replace(request, axes={**size, **request.axes})


def _export_float32(layout: Layout, prepared: _Prepared, *, say: Say) -> Artifact:
    model, request = prepared.model, prepared.request
    there = [one for one in list_artifacts(layout, model.name) if one.manifest.key == prepared.key]
    if there and not request.fresh and there[0].file.is_file():
        say(f"{model.name}: exported before, {there[0].manifest.created}; --fresh exports it again")
        return there[0]
    require_writable(layout.exported)
    _say_expected(layout, model, say=say)
    with new_artifact(layout, model.name) as folder:
        began = time.monotonic()
        done = _run(layout, prepared, folder / FILE, say=say)
        done["verdicts"]["seconds"] = round(time.monotonic() - began, 1)
        return keep_artifact(layout, folder, _make_manifest(prepared, folder / FILE, done))


def _say_expected(layout: Layout, model: Model, *, say: Say) -> None:
    """Say how long the last export of the model took, if that is known."""
    known = [one.manifest.verdicts["seconds"] for one in list_artifacts(layout, model.name) if _is_timed(one)]
    if known:
        say(f"{model.name}: about {spell_time(float(known[-1]))}, as long as its last export took")


def _is_timed(artifact: Artifact) -> bool:
    return "seconds" in artifact.manifest.verdicts and "base" not in artifact.manifest.verdicts


def preview_export(layout: Layout, request: ExportRequest) -> list[Planned]:
    """Say what `export_model` would do. Raises the errors that it raises before it begins."""
    model = load_model(layout, request.run.model)
    check_export(model, request)
    check_set_up(layout, model, request.run.variant)
    check_options(model, request.run.model_options)
    check_config(model, config=request.run.config, checkpoint=request.run.checkpoint)
    check_weights(layout, model, request.run)
    steps = []
    if find_tool(layout, TOOL) is None:
        steps.append(Planned(action="build", target=f"the environment tools/{TOOL}"))
    if request.wanted is not None and find_tool(layout, PRECISION_TOOL) is None:
        steps.append(Planned(action="build", target=f"the environment tools/{PRECISION_TOOL}"))
    samples = Samples() if request.wanted is None else choose_samples(model, request.wanted, request.run)
    _require_torch(model, request.run.variant)
    what = request.run.weights or request.run.checkpoint or model.default_checkpoint or "no weights"
    detail = f"{what}, opset {request.opset}, precision {request.precision}"
    if samples.tokens:
        detail += f", int8 ranges from {count_of(len(samples.tokens), 'sample')} of {request.calibrate}"
    return [
        *steps,
        Planned(action="export", target=model.name, detail=detail),
        Planned(action="write", target=str(layout.exported / model.name)),
    ]


def check_export(model: Model, request: ExportRequest) -> None:
    """Refuse what cannot be exported, before anything is looked up or built. Raises UsageError."""
    require_network(model)
    if request.to != ONNX:
        raise UsageError(
            f"--to {request.to}: networks are exported to {ONNX}; other engines are built of that file",
            hint=f"admlops export {model.name} --to {ONNX}",
        )
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"--precision {request.precision} is not one of: {', '.join(PRECISIONS)}", hint="leave --precision out"
        )
    if request.wanted is not None:
        check_wanted(request.wanted)
    if request.opset not in OPSETS:
        raise UsageError(
            f"--opset {request.opset} is not one of {OPSETS[0]} to {OPSETS[-1]}", hint=f"pass --opset {DEFAULT_OPSET}"
        )


def _require_torch(model: Model, variant: str | None) -> None:
    """Raise UsageError for a variant that only runs exported files."""
    if variant in list_plain_variants(model):
        raise UsageError(
            f"{model.name}'s variant {variant} has no PyTorch: it runs exported files alone",
            hint=f"admlops export {model.name} --variant {model.default_variant}",
        )


def _prepare(layout: Layout, model: Model, request: ExportRequest, *, say: Say) -> _Prepared:
    run = request.run
    variant = run.variant or model.default_variant
    environment = find_model(layout, model, variant)
    if environment is None:
        raise EnvError(
            f"{model.name} has no ready environment for its variant {variant}",
            hint=f"admlops env install {model.name} --variant {variant}",
        )
    tool = ensure_tool(layout, TOOL, say=say)
    _require_same_python(layout, environment, tool)
    checkpoint = chosen_weights(layout, model, run, say=say)
    settings = adapter_settings(layout, model, run, checkpoint, say=say)
    source = ExportSource(
        variant=variant,
        environment=environment.digest,
        adapter=describe_adapter(layout, model.folder),
        code=describe_code(model.folder),
        config=_config_name(layout, model, settings["config"]),
        config_sha256=config_sha256(settings["config"]),
        checkpoint=catalogue_name(model, run, checkpoint),
        checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
        weights=run.weights,
        options=dict(settings["options"]),
        sources=describe_sources(layout, model),
        commit=describe_commit(layout),
    )
    return _Prepared(model=model, request=request, environment=environment, tool=tool, settings=settings, source=source)


def _require_same_python(layout: Layout, environment: Environment, tool: Environment) -> None:
    ours, theirs = (site_packages(one).parent.name for one in (environment, tool))
    if ours != theirs:
        wanted = EnvironmentSpec.of_tool(layout, TOOL).python
        raise EnvError(
            f"{environment.name} has {ours}, and the exporter's packages are for Python {wanted}",
            hint="export another variant: admlops models show MODEL   # modern ones have Python 3.11",
        )


def _config_name(layout: Layout, model: Model, path: str | None) -> str | None:
    """Return a configuration's name in the catalogue, the path of one that is not in it."""
    folder = working_folder(layout, model)
    return next((name for name, own in model.configs.items() if str(folder / own) == path), path)


def _run(layout: Layout, prepared: _Prepared, file: Path, *, say: Say) -> dict[str, Any]:
    model, request = prepared.model, prepared.request
    runtime = RUNTIMES.get("onnxruntime")
    return run_job(
        JobRequest(
            model=model.name,
            title=f"exporting {model.name}",
            command=WorkerCommand(
                python=prepared.environment.python,
                adapter=model.adapter,
                cwd=working_folder(layout, model),
                variables=process_environment(prepared.environment.variables),
            ),
            program=layout.worker / "export.py",
            settings={**prepared.settings, "device": "cpu", "variant": prepared.source.variant},
            request={
                "file": str(file),
                "opset": request.opset,
                "form": request.form,
                "axes": dict(request.axes),
                "runtime": {"id": runtime.id, "file": str(runtime.file)},
            },
            log=layout.exported / model.name / "export.log",
            path=[str(site_packages(prepared.tool))],
            cancel=request.run.cancel,
        ),
        say=say,
    )


def _make_manifest(prepared: _Prepared, file: Path, done: Mapping[str, Any]) -> Manifest:
    request = prepared.request
    return Manifest(
        model=prepared.model.name,
        key=prepared.key,
        form=request.form,
        kind=request.to,
        precision=request.precision,
        file=file.name,
        sha256=file_sha256(file),
        size_bytes=file.stat().st_size,
        opset=request.opset,
        exporter=done["exporter"],
        versions=done["versions"],
        source=prepared.source,
        inputs=msgspec.convert(done["inputs"], list[TensorInfo]),
        outputs=msgspec.convert(done["outputs"], list[TensorInfo]),
        carried=done["carried"],
        verdicts=done["verdicts"],
        fixes=done["fixes"],
        lengths=msgspec.convert(done["lengths"], dict[str, tuple[int, int, int]]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
