"""What a deployment config asks of each step: the requests for exports, verifications and runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.paths import Layout
from admlops.deployment.artifacts import Artifact
from admlops.deployment.deploy_config import TENSORRT, Deployment
from admlops.deployment.engines import AUTO
from admlops.deployment.manifest import MANIFEST_FILE, read_manifest
from admlops.pipeline.export import DEFAULT_OPSET, ExportRequest
from admlops.pipeline.run_engine import find_engine
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.verify import MIN_FRAMES, VerifyRequest
from admlops.worker.write_precision import INT8


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What to deploy. `run` names the model, its weights, and the samples to verify and evaluate on.

    `calibrate` names the samples that int8 ranges are taken from; `fresh` exports again what is there.
    """

    deployment: Deployment
    run: RunRequest
    calibrate: str | None = None
    fresh: bool = False


def needs_data(deployment: Deployment) -> bool:
    """Tell whether the config asks for anything that reads samples."""
    return deployment.judges or (deployment.exports and deployment.precision == INT8)


def require_data(deployment: Deployment, data: Path | None) -> None:
    """Raise UsageError where the config names a pickle of samples and nothing stands in for it."""
    if deployment.info_file is None or data is not None or not needs_data(deployment):
        return
    key = "runtime_io.info_pkl" if "runtime_io.info_pkl" in deployment.lines else "runtime_io.info_file"
    raise deployment.refuse(
        key, f"{deployment.info_file}: reading a pickle runs code that is in it", "pass --data DIR in its place"
    )


def export_request(request: DeployRequest) -> ExportRequest:
    """Return the request for the export."""
    deployment = request.deployment
    return ExportRequest(
        run=replace(request.run, checkpoint=chosen_checkpoint(request)),
        precision=deployment.precision,
        opset=deployment.opset or DEFAULT_OPSET,
        fresh=request.fresh,
        calibrate=request.calibrate,
    )


def chosen_checkpoint(request: DeployRequest) -> str | None:
    """Return the weights: those of the options, else those of the config."""
    run = request.run
    return run.checkpoint if run.checkpoint or run.weights is not None else request.deployment.checkpoint


def verify_request(request: DeployRequest, engine: str) -> VerifyRequest:
    """Return the request for a verification; the reference has the weights that were exported."""
    return VerifyRequest(run=engine_run(request, engine), frames=request.deployment.frames or MIN_FRAMES)


def judging_run(request: DeployRequest) -> RunRequest:
    """Return the request for a run over the samples that are judged, in PyTorch with the chosen weights."""
    run = request.run
    limit = run.selection.limit if run.selection.limit is not None else request.deployment.samples
    return replace(run, checkpoint=chosen_checkpoint(request), selection=replace(run.selection, limit=limit))


def pytorch_run(request: DeployRequest) -> RunRequest:
    """Return the request for PyTorch's own run, with the weights that `evaluation.models` names for it."""
    run, own = judging_run(request), request.deployment.models.get("pytorch")
    return run if own is None else replace(run, checkpoint=own, weights=None)


def engine_run(request: DeployRequest, engine: str) -> RunRequest:
    """Return the request for a run by an engine."""
    kind, _, file = engine.partition(":")
    options = _build_options(request.deployment, Path(file)) if kind == TENSORRT else {}
    return replace(judging_run(request), engine=engine, engine_options=options)


def made_engine(deployment: Deployment, backend: str, artifact: Artifact | None) -> str:
    """Return the engine that `export.mode` makes: of the exported file, or of the one that `trt` takes."""
    return f"{backend}:{deployment.onnx_file if artifact is None else artifact.file}"


def named_engine(layout: Layout, request: DeployRequest, backend: str, artifact: Artifact | None) -> str:
    """Return the engine that `evaluation.models` means: its file, else what was made, or exported earlier.

    Raises:
        UsageError: nothing was exported earlier in the precision, or of the weights, that the config names.
    """
    deployment = request.deployment
    path = deployment.models.get(backend)
    if path is not None:
        return f"{backend}:{path}"
    if deployment.mode != "none":
        return made_engine(deployment, backend, artifact)
    engine = backend if deployment.precision == AUTO else f"{backend}:{deployment.precision}"
    run = replace(judging_run(request), engine=engine)
    found = find_engine(layout, load_model(layout, run.model), run, say=lambda _: None)
    assert found is not None, "run.engine is set"
    return f"{backend}:{found.file}"


def _build_options(deployment: Deployment, file: Path) -> dict[str, Any]:
    """Return the options by which TensorRT builds an engine, with the names that the file has."""
    beside = file.parent / MANIFEST_FILE
    own = [one.name for one in read_manifest(beside).inputs] if beside.is_file() else []
    names = dict(zip(deployment.inputs, own, strict=False))
    options: dict[str, Any] = {}
    if deployment.workspace_bytes is not None:
        options["workspace_bytes"] = deployment.workspace_bytes
    if deployment.profiles:
        options["profile"] = {
            names.get(name, name): [list(one.least), list(one.usual), list(one.largest)]
            for name, one in sorted(deployment.profiles.items())
        }
    return options
