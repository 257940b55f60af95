"""Deploy a model as a config file asks: export it, verify the engines, and evaluate them on the same samples."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.errors import RunFailedError
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error, require_writable
from admlops.core.types import Planned, Say
from admlops.datasets.base import open_data
from admlops.deployment.artifacts import Artifact
from admlops.deployment.deploy_config import ONNX, PYTORCH, TENSORRT, Deployment
from admlops.deployment.manifest import MANIFEST_FILE, Manifest, TensorInfo, Tensors, read_manifest
from admlops.evaluation.evaluate import evaluate_run
from admlops.health.gpus import detect_gpus
from admlops.pipeline.comparison_runs import ShowProgress
from admlops.pipeline.export import DEFAULT_OPSET, ExportRequest, check_export, export_model, preview_export
from admlops.pipeline.network_tensors import find_tensors
from admlops.pipeline.run import run_model
from admlops.pipeline.run_engine import require_network
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.verify import MIN_FRAMES, VerifyRequest, verify_engine


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What to deploy. `run` names the model, its weights, and the samples to verify and evaluate on.

    `calibrate` names the samples that int8 ranges are taken from; `fresh` exports again what is there.
    """

    deployment: Deployment
    run: RunRequest
    calibrate: str | None = None
    fresh: bool = False


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """What came of it: the exported network, the copy in `work_dir`, and what was found of each engine.

    `verified` is engine → outcome; `evaluated` is backend → name of the run and its metrics.
    """

    artifact: Artifact | None
    copy: Path | None
    verified: Mapping[str, Mapping[str, Any]]
    evaluated: Mapping[str, Mapping[str, Any]]


def deploy_model(layout: Layout, request: DeployRequest, *, say: Say, show_progress: ShowProgress) -> Deployed:
    """Do what the config asks, in its order: export, verify, evaluate. Stops at the first engine that is not right.

    Raises:
        UsageError: a key contradicts the model or the machine; names file and line.
        RunFailedError: an engine was verified and is not right, or samples fail.
        AdmlopsError: as exporting, verifying and running raise.
    """
    deployment = request.deployment
    check_deployment(layout, request, say=say)
    for word in deployment.words:
        say(word)
    artifact = None
    if deployment.mode in ("onnx", "both"):
        artifact = export_model(layout, _export_request(request), say=say)
    _check_file(deployment, artifact)
    copy = None if artifact is None else _copy(deployment, artifact, say)
    verified = {}
    if deployment.verify:
        for _, engine in _made_engines(deployment, artifact):
            found = verify_engine(layout, _verify_request(request, engine), say=say, show_progress=show_progress)
            verified[engine] = found.to_json()
            if found.failed is not None:
                raise RunFailedError(
                    f"{engine}: {found.outcome}", hint=f"admlops verify {request.run.model} --engine {engine} --bisect"
                )
    evaluated = {
        backend: _evaluate(layout, run, say=say, show_progress=show_progress)
        for backend, run in _evaluations(request, artifact)
    }
    return Deployed(artifact=artifact, copy=copy, verified=verified, evaluated=evaluated)


def preview_deployment(layout: Layout, request: DeployRequest, *, say: Say) -> list[Planned]:
    """Say what `deploy_model` would do. Raises the errors that it raises before it begins."""
    deployment, model = request.deployment, request.run.model
    check_deployment(layout, request, say=say)
    steps = [Planned(action="note", target=word) for word in deployment.words]
    if deployment.mode in ("onnx", "both"):
        steps += preview_export(layout, _export_request(request))
        if deployment.work_dir is not None:
            steps.append(Planned(action="copy to", target=str(deployment.work_dir / deployment.save_file)))
    if deployment.verify:
        frames = deployment.frames or MIN_FRAMES
        steps += [
            Planned(action="verify", target=f"{model}@{backend}", detail=f"{frames} frames, then whole scenes")
            for backend, _ in _made_engines(deployment, None)
        ]
    samples = "all samples" if deployment.samples is None else f"{deployment.samples} samples"
    steps += [
        Planned(action="evaluate", target=f"{model}@{backend}", detail=f"{samples}, {run.device}")
        for backend, run in _evaluations(request, None)
    ]
    return steps


def check_deployment(layout: Layout, request: DeployRequest, *, say: Say) -> None:
    """Refuse what cannot be done here, before anything is done. Raises UsageError.

    Names and shapes are checked against those of an earlier export by the same code, or of the network itself.
    """
    deployment = request.deployment
    model = load_model(layout, request.run.model)
    require_network(model)
    if deployment.wants_tensorrt and not detect_gpus():
        raise deployment.refuse(
            "export.mode", "TensorRT builds engines on an NVIDIA GPU, and none is visible", 'write mode="onnx"'
        )
    if deployment.precision == "int8" and request.calibrate is None:
        raise deployment.refuse(
            "backend_config.common_config.precision_policy",
            "int8 takes its ranges from samples, and none are named",
            f"admlops deploy {deployment.file} {model.name} --calibrate train",
        )
    if deployment.mode in ("onnx", "both"):
        check_export(model, _export_request(request))
    for key, path in _named_files(deployment):
        if not path.is_file():
            raise deployment.refuse(key, f"{path} is no file", "admlops exported list")
    if deployment.work_dir is not None and deployment.mode in ("onnx", "both"):
        require_writable(deployment.work_dir)
    _check_file(deployment, None)
    if deployment.mode in ("onnx", "both") and _names_tensors(deployment):
        tensors = find_tensors(layout, model, request.run, say=say)
        if tensors is not None:
            check_tensors(deployment, tensors)


def _names_tensors(deployment: Deployment) -> bool:
    """Tell whether a config says anything of the network's tensors."""
    own = (deployment.inputs, deployment.outputs, deployment.dynamic_axes, deployment.profiles)
    return any(own) or deployment.input_shape is not None


def _named_files(deployment: Deployment) -> Iterator[tuple[str, Path]]:
    if deployment.mode == "trt" and deployment.onnx_file is not None:
        yield "runtime_io.onnx_file", deployment.onnx_file
    for backend, path in deployment.models.items():
        if deployment.evaluate and path is not None and backend != PYTORCH:
            keys = ("evaluation.models", f"evaluation.{backend}_model")
            yield next(key for key in keys if key in deployment.lines), Path(path).expanduser()


def _export_request(request: DeployRequest) -> ExportRequest:
    deployment = request.deployment
    return ExportRequest(
        run=replace(request.run, checkpoint=request.run.checkpoint or _checkpoint(request)),
        precision=deployment.precision,
        opset=deployment.opset or DEFAULT_OPSET,
        fresh=request.fresh,
        calibrate=request.calibrate,
    )


def _checkpoint(request: DeployRequest) -> str | None:
    return None if request.run.weights is not None else request.deployment.checkpoint


def _verify_request(request: DeployRequest, engine: str) -> VerifyRequest:
    run = _engine_run(request, engine)
    # The reference has the weights that were exported.
    return VerifyRequest(run=run, frames=request.deployment.frames or MIN_FRAMES)


def _engine_run(request: DeployRequest, engine: str | None) -> RunRequest:
    """Return the request for a run by an engine, or by PyTorch where it is None."""
    deployment, run = request.deployment, request.run
    limit = run.selection.limit if run.selection.limit is not None else deployment.samples
    run = replace(run, engine=engine, selection=replace(run.selection, limit=limit))
    if engine is None:
        return replace(run, checkpoint=run.checkpoint or _checkpoint(request))
    kind, _, file = engine.partition(":")
    return replace(run, engine_options=_build_options(deployment, Path(file)) if kind == TENSORRT else {})


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


def _made_engines(deployment: Deployment, artifact: Artifact | None) -> Iterator[tuple[str, str]]:
    """Yield (backend, engine) of what `export.mode` makes; the file is `network.onnx` before it is exported."""
    if deployment.mode in ("onnx", "both"):
        file = "network.onnx" if artifact is None else str(artifact.file)
        yield ONNX, f"{ONNX}:{file}"
    else:
        file = str(deployment.onnx_file)
    if deployment.mode in ("trt", "both"):
        yield TENSORRT, f"{TENSORRT}:{file}"


def _evaluations(request: DeployRequest, artifact: Artifact | None) -> Iterator[tuple[str, RunRequest]]:
    """Yield (backend, run) of what `evaluation` asks for: the files it names, else what was made."""
    deployment = request.deployment
    if not deployment.evaluate:
        return
    made = dict(_made_engines(deployment, artifact)) if deployment.mode != "none" else {}
    wanted: Mapping[str, str | None] = deployment.models or dict.fromkeys(made)
    for backend, path in wanted.items():
        if backend == PYTORCH:
            run = _engine_run(request, None)
            yield backend, run if path is None else replace(run, checkpoint=path, weights=None)
        elif path is not None:
            yield backend, _engine_run(request, f"{backend}:{Path(path).expanduser()}")
        else:
            yield backend, _engine_run(request, made.get(backend, backend))


def _evaluate(layout: Layout, request: RunRequest, *, say: Say, show_progress: ShowProgress) -> dict[str, Any]:
    with show_progress() as watch:
        run, summary = run_model(layout, request, say=say, on_progress=watch)
    if summary.state != "complete" or not summary.ok:
        raise RunFailedError(
            f"{run.header.run}: {summary.state}, {summary.failed} samples failed", hint=run.header.resume_command
        )
    data = open_data(request.data, request.version, wanted=load_model(layout, request.model).reads)
    with run.lock():
        metrics = evaluate_run(run, data, layout=layout, say=say)
        run.write_manifest()
    return {"run": run.header.run, "ok": summary.ok, "failed": summary.failed, "metrics": metrics}


def _copy(deployment: Deployment, artifact: Artifact, say: Say) -> Path | None:
    """Copy the file and its manifest into `work_dir`, the manifest last."""
    if deployment.work_dir is None:
        return None
    target = deployment.work_dir / deployment.save_file
    try:
        deployment.work_dir.mkdir(parents=True, exist_ok=True)
        for source, place in (
            (artifact.file, target),
            (artifact.folder / MANIFEST_FILE, target.with_name(MANIFEST_FILE)),
        ):
            shutil.copyfile(source, place.with_name(f".{place.name}.partial"))
            place.with_name(f".{place.name}.partial").replace(place)
    except OSError as error:
        raise explain_os_error(error, target) from error
    say(f"copied to {target}, with {MANIFEST_FILE}")
    return target


def _check_file(deployment: Deployment, artifact: Artifact | None) -> None:
    """Raise UsageError if the config and the manifest of the file disagree on the tensors."""
    manifest = None if artifact is None else artifact.manifest
    if manifest is None and deployment.mode == "trt" and deployment.onnx_file is not None:
        beside = deployment.onnx_file.parent / MANIFEST_FILE
        manifest = read_manifest(beside) if beside.is_file() else None
    if manifest is not None:
        check_tensors(deployment, manifest)


def check_tensors(deployment: Deployment, manifest: Manifest | Tensors) -> None:
    """Check names, shapes and dynamic axes of a config against a file's manifest, or against the network itself.

    Raises:
        UsageError: their number differs, an axis is not dynamic, or a length differs: names the line.
    """
    pairs = (
        ("onnx_config.input_names", deployment.inputs, manifest.inputs),
        ("onnx_config.output_names", deployment.outputs, manifest.outputs),
    )
    tensors = {one.name: one for one in (*manifest.inputs, *manifest.outputs)}
    for key, names, own in pairs:
        if names and len(names) != len(own):
            there = ", ".join(one.name for one in own)
            raise deployment.refuse(key, f"{len(names)} names for {len(own)} tensors: {there}", f"write {there}")
        tensors.update(zip(names, own, strict=False))
    for name, axes in deployment.dynamic_axes.items():
        tensor = _tensor(deployment, "onnx_config.dynamic_axes", tensors, name)
        for axis in axes:
            if not -len(tensor.shape) <= axis < len(tensor.shape) or isinstance(tensor.shape[axis], int):
                raise deployment.refuse(
                    "onnx_config.dynamic_axes",
                    f"axis {axis} of {name} is no dynamic one: {tensor.name} is {_shape(tensor)}",
                    f"remove {axis} from {name}",
                )
    for name, profile in deployment.profiles.items():
        tensor = _tensor(deployment, "backend_config.model_inputs", tensors, name)
        for given in (profile.least, profile.usual, profile.largest):
            _require_shape(deployment, "backend_config.model_inputs", tensor, given)
    if deployment.input_shape is not None:
        _require_shape(deployment, "onnx_config.input_shape", manifest.inputs[0], deployment.input_shape)


def _tensor(deployment: Deployment, key: str, tensors: Mapping[str, TensorInfo], name: str) -> TensorInfo:
    if name not in tensors:
        raise deployment.refuse(key, f"there is no tensor called {name}", f"write one of {', '.join(tensors)}")
    return tensors[name]


def _require_shape(deployment: Deployment, key: str, tensor: TensorInfo, given: tuple[int, ...]) -> None:
    """Raise UsageError unless `given` are the tensor's last lengths, where those are fixed."""
    own = tensor.shape[-len(given) :]
    if len(given) > len(tensor.shape) or any(
        isinstance(length, int) and length != one for length, one in zip(own, given, strict=False)
    ):
        raise deployment.refuse(
            key, f"{list(given)} is no shape of {tensor.name}, which is {_shape(tensor)}", "write lengths that fit"
        )


def _shape(tensor: TensorInfo) -> str:
    return "×".join(str(axis) for axis in tensor.shape)


def needs_data(deployment: Deployment) -> bool:
    """Tell whether the config asks for anything that reads samples."""
    return deployment.verify or deployment.evaluate or deployment.precision == "int8"


def require_data(deployment: Deployment, data: Path | None) -> None:
    """Raise UsageError where the config names a pickle of samples and nothing stands in for it."""
    if deployment.info_file is None or data is not None or not needs_data(deployment):
        return
    key = "runtime_io.info_pkl" if "runtime_io.info_pkl" in deployment.lines else "runtime_io.info_file"
    raise deployment.refuse(
        key, f"{deployment.info_file}: reading a pickle runs code that is in it", "pass --data DIR in its place"
    )
