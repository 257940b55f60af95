"""Verify an engine on this machine: the file, its tensors, what it makes of scenes, and what that is worth.

Steps 1 and 2 are a job in the model's environment, beside the network in PyTorch. Steps 3 and 4 are two runs over the
same samples, which are kept as any run is: a later comparison uses them again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from admlops.catalog import Model, load_model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.storage import require_writable
from admlops.core.types import Planned, Say
from admlops.datasets.base import Dataset, Scene, fetch_files, open_data
from admlops.deployment.artifacts import add_verification, describe_verification
from admlops.deployment.bounds import Bounds, bounds_of
from admlops.deployment.calibration import require_apart
from admlops.deployment.manifest import Manifest
from admlops.deployment.verification import STEPS, Step, Verification, judge_file, judge_tensors
from admlops.environments import Environment, ensure_model, ensure_tool
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import ComputeDevice
from admlops.health.machine import describe_machine
from admlops.pipeline.artifact_choice import list_plain_variants
from admlops.pipeline.comparison_runs import ShowProgress
from admlops.pipeline.export import TOOL
from admlops.pipeline.requested_data import check_data_kind
from admlops.pipeline.run import check_request, check_set_up
from admlops.pipeline.run_engine import (
    EngineFile,
    RuntimePackages,
    find_engine,
    provide_packages,
    site_packages,
)
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import adapter_settings, chosen_weights, working_folder
from admlops.pipeline.scene_jobs import DataSetSamples
from admlops.pipeline.selection import select
from admlops.pipeline.verify_runs import Pair, check_pair, mark_run
from admlops.worker.network import DEFAULT_FORM
from admlops.worker.precision import AUTHORS, FLOAT32
from admlops.worker.samples.form import make_paths_absolute

MIN_FRAMES = 4
"""A state that is carried shows in the second frame, and what it loses in those after it."""


@dataclass(frozen=True, kw_only=True)
class VerifyRequest:
    """What to verify: `run.engine` on the samples of `run`; `frames` of one scene are compared tensor by tensor."""

    run: RunRequest
    frames: int = MIN_FRAMES
    bisect: bool = False


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A verification that can begin."""

    model: Model
    request: VerifyRequest
    engine: EngineFile
    reference: RunRequest
    device: ComputeDevice
    data: Dataset
    scene: Scene

    @property
    def random_weights(self) -> bool:
        return self.reference.weights is not None

    @property
    def provider(self) -> str:
        return self.engine.engine.runtime.providers.get(self.device.kind, self.device.kind)


def verify_engine(layout: Layout, request: VerifyRequest, *, say: Say, show_progress: ShowProgress) -> Verification:
    """Take the four steps, stop at the first that fails, and keep what was found beside the file.

    Raises:
        UsageError: the model, the engine, its weights or the samples are not what can be verified.
        EnvError: the model is not set up in a variant with PyTorch.
        RunFailedError: PyTorch's own network fails.
    """
    prepared = _prepare(layout, request, say=say)
    require_writable(prepared.engine.file.parent)
    environment = ensure_model(layout, prepared.model, prepared.reference.variant, say=say)
    packages = provide_packages(
        layout, prepared.engine.engine.runtime, environment, device=prepared.device.kind, say=say
    )
    found = _run_job(layout, prepared, environment, packages, say=say)
    steps = [judge_file(found["file"])]
    bounds = bounds_of(str(found["file"].get("precision", prepared.engine.precision)))
    if steps[-1].verdict != "failed":
        steps.append(judge_tensors(found["tensors"], bounds, random_weights=prepared.random_weights))
    pair: Pair | None = None
    if steps[-1].verdict != "failed":
        reference = replace(prepared.reference, exported_form=bool(found["departs"]))
        if found["departs"]:
            say(f"PyTorch runs the exported form: {found['departs']}")
        pair, more = check_pair(
            layout, (reference, request.run), bounds, data=prepared.data, say=say, show_progress=show_progress
        )
        steps += more
    verification = Verification(
        about=_about(prepared, found["file"], packages, pair),
        steps=_with_rest(steps),
        needs_metrics=bounds.needs_metrics,
        bisect=found.get("bisect"),
    )
    entry = verification.to_json()
    add_verification(prepared.engine.file.parent, entry)
    if pair is not None:
        mark_run(layout, pair.engine, describe_verification(entry), prepared.data, say=say)
    return verification


def verify_command(run: RunRequest) -> str:
    """Return the command that verifies the engine of a request again, against the same weights on the same data."""
    words = ["admlops", "verify", run.model, "--engine", str(run.engine), "--data", str(run.data)]
    named = {"--checkpoint": run.checkpoint, "--weights": run.weights, "--config": run.config}
    return shlex.join([*words, *(word for name, value in named.items() if value for word in (name, value))])


def preview_verification(layout: Layout, request: VerifyRequest) -> list[Planned]:
    """Say what `verify_engine` would do. Raises the errors that it raises before it begins."""
    prepared = _prepare(layout, request, say=lambda _: None)
    file, name = prepared.engine.file, prepared.model.name
    rest = sum(len(scene.samples) for scene in select(prepared.data, request.run.selection))
    return [
        Planned(action="check", target=str(file), detail=f"and open it with {prepared.provider}"),
        Planned(
            action="compare tensors",
            target=name,
            detail=f"{len(prepared.scene.samples)} frames of {prepared.scene.name}, on two rigs",
        ),
        Planned(action="run", target=name, detail=f"in PyTorch and by the engine, {rest} samples"),
        Planned(action="write", target=str(file.parent / "verified.json")),
    ]


def _prepare(layout: Layout, request: VerifyRequest, *, say: Say) -> _Prepared:
    run = request.run
    model = load_model(layout, run.model)
    if run.engine is None:
        raise UsageError("verify needs --engine", hint=f"admlops verify {model.name} --engine onnx")
    _, devices = check_request(model, run, describe_machine(), say=say)
    data = open_data(run.data, run.version, wanted=model.reads)
    check_data_kind(model, data, run)
    engine = find_engine(layout, model, run, say=say)
    assert engine is not None, "run.engine is set"
    samples = [token for one in select(data, run.selection, temporal=model.temporal) for token in one.samples]
    require_apart(engine.manifest, samples)
    reference = _reference(model, run, engine, devices[0])
    check_set_up(layout, model, reference.variant)
    fetch_files(data, say)
    scene = _choose_scene(model, select(data, run.selection, temporal=model.temporal), request.frames)
    return _Prepared(
        model=model,
        request=request,
        engine=engine,
        reference=reference,
        device=devices[0],
        data=data,
        scene=scene,
    )


def _reference(model: Model, run: RunRequest, engine: EngineFile, device: ComputeDevice) -> RunRequest:
    """Return the request for PyTorch's own network: the weights, configuration and options that were exported."""
    manifest = engine.manifest
    variant = run.variant if manifest is None else manifest.source.variant
    if variant in list_plain_variants(model):
        variant = None
    precision = FLOAT32 if device.kind == "cuda" else AUTHORS
    own = replace(run, engine=None, variant=variant, precision=precision)
    return own if manifest is None else _as_exported(own, model, manifest)


def _as_exported(own: RunRequest, model: Model, manifest: Manifest) -> RunRequest:
    source = manifest.source
    if own.checkpoint is None and own.weights is None:
        if source.checkpoint_sha256 is not None and source.checkpoint is None:
            raise UsageError(
                f"{manifest.model}/{manifest.key} was exported of a checkpoint that the catalogue does not know: "
                f"sha256 {source.checkpoint_sha256[:12]}…",
                hint=f"admlops verify {model.name} --engine … --checkpoint FILE   # that one",
            )
        own = replace(own, checkpoint=source.checkpoint, weights=source.weights)
    options = {
        name: str(value) for name, value in source.options.items() if name in model.options and name != "weights"
    }
    return replace(own, config=own.config or source.config, model_options={**options, **own.model_options})


def _choose_scene(model: Model, scenes: Sequence[Scene], frames: int) -> Scene:
    """Return the first scene with enough samples, else the longest, cut to them; a temporal model needs MIN_FRAMES."""
    longest = max(scenes, key=lambda scene: len(scene.samples))
    chosen = next((scene for scene in scenes if len(scene.samples) >= frames), longest)
    if model.temporal and min(frames, len(chosen.samples)) < MIN_FRAMES:
        option = "--frames" if frames < MIN_FRAMES else "--limit"
        raise UsageError(
            f"{model.name} carries state, which shows after the first frame: {MIN_FRAMES} of a scene are needed",
            hint=f"pass {option} {MIN_FRAMES} or more",
        )
    return replace(chosen, samples=chosen.samples[:frames])


def _run_job(
    layout: Layout, prepared: _Prepared, environment: Environment, packages: RuntimePackages, *, say: Say
) -> dict[str, Any]:
    model, reference, device = prepared.model, prepared.reference, prepared.device
    checkpoint = chosen_weights(layout, model, reference, say=say)
    _require_same_weights(prepared.engine.manifest, None if checkpoint is None else checkpoint.sha256)
    settings = adapter_settings(layout, model, reference, checkpoint, say=say)
    runtime = prepared.engine.engine.runtime
    # The folder with the checker comes last: it has ONNX Runtime for the CPU too.
    folders = [*packages.path, str(site_packages(ensure_tool(layout, TOOL, say=say)))]
    return run_job(
        JobRequest(
            model=model.name,
            title=f"verifying {model.name}",
            command=WorkerCommand(
                python=environment.python,
                adapter=model.adapter,
                cwd=working_folder(layout, model),
                variables={**process_environment(environment.variables), **device.variables},
            ),
            program=layout.worker / "verify.py",
            settings={
                **settings,
                "device": device.id_in_worker,
                "variant": reference.variant or model.default_variant,
            },
            request={
                **_describe_file(prepared.engine),
                "runtime": {"id": runtime.id, "file": str(runtime.file)},
                "engine": prepared.engine.describe_build(layout, prepared.request.run),
                "samples": _samples(model, prepared.data, prepared.scene),
                "bound": _bounds(prepared.engine).module,
                "bisect": prepared.request.bisect,
            },
            log=layout.exported / model.name / "verify.log",
            path=list(dict.fromkeys(folders)),
            cancel=reference.cancel,
        ),
        say=say,
    )


def _describe_file(engine: EngineFile) -> dict[str, Any]:
    manifest = engine.manifest
    return {
        "file": str(engine.file),
        "export": engine.export_command,
        "form": DEFAULT_FORM if manifest is None else manifest.form,
        "opset": None if manifest is None else manifest.opset,
        "precision": None if manifest is None else manifest.precision,
    }


def _bounds(engine: EngineFile) -> Bounds:
    return bounds_of(engine.precision)


def _samples(model: Model, data: Dataset, scene: Scene) -> list[Mapping[str, Any]]:
    """The frames as an adapter gets them, with absolute paths."""
    reader = DataSetSamples(data, with_context=model.traits.needs_context)
    return [make_paths_absolute(reader.read(token), str(data.root)) for token in scene.samples]


def _require_same_weights(manifest: Manifest | None, sha256: str | None) -> None:
    if manifest is not None and manifest.source.checkpoint_sha256 not in (None, sha256):
        raise UsageError(
            f"{manifest.model}/{manifest.key} was exported of the weights {manifest.source.checkpoint_sha256}, and the "
            f"reference's are {sha256 or 'random'}",
            hint=f"admlops export {manifest.model} --to {manifest.kind}   # exports the weights that are there now",
        )


def _with_rest(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Add the steps that were not taken, because one before them failed."""
    rest = STEPS[len(steps) :]
    return (
        *steps,
        *(Step(name=name, verdict="not run", reason=f"the step {steps[-1].name} failed") for name in rest),
    )


def _about(
    prepared: _Prepared, file: Mapping[str, Any], packages: RuntimePackages, pair: Pair | None
) -> dict[str, Any]:
    engine, data = prepared.engine, prepared.data
    reference = prepared.reference
    return {
        "model": prepared.model.name,
        "engine": str(prepared.request.run.engine),
        "file": str(engine.file),
        "export": engine.export_command or f"admlops export {prepared.model.name} --to onnx",
        "sha256": engine.sha256,
        "size_bytes": engine.file.stat().st_size,
        "precision": file.get("precision", engine.precision),
        "called": None if engine.manifest is None else engine.manifest.precision,
        "artifact": None if engine.manifest is None else f"{engine.manifest.model}/{engine.manifest.key}",
        "provider": prepared.provider,
        "code": engine.code,
        "versions": dict(packages.versions),
        "device": prepared.device.name,
        "reference": reference.weights or reference.checkpoint or prepared.model.default_checkpoint,
        "data": {"root": str(data.root), "version": data.version, "scene": prepared.scene.name},
        "runs": None if pair is None else [pair.reference.header.run, pair.engine.header.run],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
